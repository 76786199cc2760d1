"""What the time of a translation model is close to linear in."""

from __future__ import annotations

from collections.abc import Sequence

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


def products(means: Sequence[float], depth: int = 6) -> list[float]:
    """Extends widths, depths and means over layers, in the order of :data:`MEAN_NAMES`.

    Sums over the decoder's layers (a mean times the depth), products with the width that they are multiplied
    with in a matrix product, and one indicator for each of the decoder's depths.

    Args:
        means: see :func:`fairseq_mos.cost.features.mean_features`.
        depth: of the deepest decoder; there are indicators for 6 depths at least.
    """
    embed, layers, ffn, heads, dec_embed, dec_layers, dec_ffn, dec_heads, cross_heads, states = means
    sums = [value * dec_layers for value in (dec_embed, dec_ffn, dec_heads, cross_heads, states)]
    sums += [dec_layers * dec_ffn * dec_embed, dec_layers * states * embed, layers * ffn * embed, layers * heads]
    return [*means, *sums, *(float(dec_layers == count) for count in range(1, max(6, depth) + 1))]
