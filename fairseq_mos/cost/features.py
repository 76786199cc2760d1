"""Architectures as numbers for a latency predictor.

Unlike what a router reads (:mod:`fairseq_mos.arch.encoding`), these are raw sizes and products of sizes: the
time of a layer is close to linear in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.encoding import mean, padded, quantities
from fairseq_mos.errors import UserError

MEAN_NAMES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
"""Columns of HAT's published data sets, in order; arbitrary attention counts as 1, 2 or 3 states."""

KINDS = ("layers", "mean")


def mean_features(arch: Architecture) -> list[float]:
    """Returns the values of :data:`MEAN_NAMES`: widths, depths and means over layers (HAT, section 3.3)."""
    values: list[float] = []
    for once, lists in quantities(arch):
        values += [*once, *map(mean, lists)]
    return values


def products(means: Sequence[float]) -> list[float]:
    """Extends :func:`mean_features` by what the time of a stack of layers is linear in.

    Sums over the decoder's layers (a mean times the depth), products with the width that they are multiplied
    with in a matrix product, and one indicator for each depth up to 6.
    """
    embed, layers, ffn, heads, dec_embed, dec_layers, dec_ffn, dec_heads, cross_heads, states = means
    sums = [value * dec_layers for value in (dec_embed, dec_ffn, dec_heads, cross_heads, states)]
    sums += [dec_layers * dec_ffn * dec_embed, dec_layers * states * embed, layers * ffn * embed, layers * heads]
    return [*means, *sums, *(float(dec_layers == depth) for depth in range(1, 7))]


def layer_features(space: SearchSpace, arch: Architecture) -> list[float]:
    """Returns :func:`products` and every layer's own sizes; those of inactive layers are 0.

    Args:
        space: fixes the number of layers, and so the length.
        arch: an architecture of it.
    """
    values = products(mean_features(arch))
    for choices, (_, lists) in zip(space.choices, quantities(arch)):
        for entries in lists:
            values += padded(entries, choices.layers[0])
    return values


def features(kind: str, space: SearchSpace, arch: Architecture) -> list[float]:
    """Returns the features of a kind: `layers`, or `mean` for data that has means alone.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"latency features are {kind!r}, allowed: {', '.join(KINDS)}")
    return layer_features(space, arch) if kind == "layers" else products(mean_features(arch))
