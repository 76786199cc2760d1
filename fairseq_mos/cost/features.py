"""Architectures as numbers for a latency predictor.

Unlike what a router reads (:mod:`fairseq_mos.arch.encoding`), these are raw sizes and products of sizes: the
time of a layer is close to linear in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_mos.arch import Architecture, SearchSpace, memory_states
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
    encoder, decoder = arch.encoder, arch.decoder
    states = [memory_states(value) for value in decoder.arbitrary_attention]
    values: list[float] = [encoder.embed_dim, encoder.layers]
    values += [_mean(encoder.ffn_dims), _mean(encoder.self_attention_heads)]
    values += [decoder.embed_dim, decoder.layers, _mean(decoder.ffn_dims)]
    values += [_mean(decoder.self_attention_heads), _mean(decoder.cross_attention_heads), _mean(states)]
    return values


def products(mean: Sequence[float]) -> list[float]:
    """Extends :func:`mean_features` by what the time of a stack of layers is linear in.

    Sums over the decoder's layers (a mean times the depth), products with the width that they are multiplied
    with in a matrix product, and one indicator for each depth up to 6.
    """
    embed, layers, ffn, heads, dec_embed, dec_layers, dec_ffn, dec_heads, cross_heads, states = mean
    sums = [value * dec_layers for value in (dec_embed, dec_ffn, dec_heads, cross_heads, states)]
    sums += [dec_layers * dec_ffn * dec_embed, dec_layers * states * embed, layers * ffn * embed, layers * heads]
    return [*mean, *sums, *(float(dec_layers == depth) for depth in range(1, 7))]


def layer_features(space: SearchSpace, arch: Architecture) -> list[float]:
    """Returns :func:`products` and every layer's own sizes; those of inactive layers are 0.

    Args:
        space: fixes the number of layers, and so the length.
        arch: an architecture of it.
    """
    encoder, decoder = arch.encoder, arch.decoder
    states = [memory_states(value) for value in decoder.arbitrary_attention]
    values = products(mean_features(arch))
    for depth, lists in (
        (space.super_encoder_layers, (encoder.ffn_dims, encoder.self_attention_heads)),
        (
            space.super_decoder_layers,
            (decoder.ffn_dims, decoder.self_attention_heads, decoder.cross_attention_heads, states),
        ),
    ):
        for entries in lists:
            values += [float(entry) for entry in entries] + [0.0] * (depth - len(entries))
    return values


def features(kind: str, space: SearchSpace, arch: Architecture) -> list[float]:
    """Returns the features of a kind: `layers`, or `mean` for data that has means alone.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"latency features are {kind!r}, allowed: {', '.join(KINDS)}")
    return layer_features(space, arch) if kind == "layers" else products(mean_features(arch))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
