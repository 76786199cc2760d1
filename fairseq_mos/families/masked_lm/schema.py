"""The shape of masked language models: one stack, of one width or with a bottleneck around each layer."""

from __future__ import annotations

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.schema import Constant, Derived, Rule, Schema, Stack, Trait
from fairseq_mos.arch.widths import Widths


def _ffn_dim(width: int, ratio: float) -> int:
    return int(width * ratio)


def _head_split(heads: int, head_dim: int | None) -> int:
    return heads if head_dim is None else 1


def _split(width: int, heads: int) -> tuple[str, str] | None:
    if width % heads == 0:
        return None
    return (f", which {heads} heads do not divide",) * 2


def _narrower(hidden: int, width: int) -> tuple[str, str] | None:
    if hidden <= width:
        return None
    return (f", which is more than embed_dim, {width}",) * 2


SCHEMA = Schema(
    "masked_lm",
    (
        Stack(
            "encoder",
            (
                Trait("embed_dim"),
                Trait("ffn_ratio", fraction=True, part="ffn"),
                Trait("attention_heads", part="self_attn"),
            ),
            (Trait("hidden_dims", optional=True),),
            (
                Derived("ffn_dim", ("embed_dim", "ffn_ratio"), _ffn_dim),
                # What has to divide the width: 1, so anything, where heads have a width of their own.
                Derived("split", ("attention_heads", "head_dim"), _head_split),
            ),
        ),
    ),
    (Constant("head_dim", "split", "the heads of a layer split its width"),),
    (
        Rule("encoder.embed_dim", "encoder.split", _split),
        Rule("encoder.hidden_dims", "encoder.split", _split),
        Rule("encoder.hidden_dims", "encoder.embed_dim", _narrower),
    ),
)


def layers(arch: Architecture, merged: bool) -> list[Widths]:
    """Returns the sizes of each layer.

    Args:
        arch: the architecture.
        merged: an output bottleneck and the next layer's input bottleneck are one linear layer.
    """
    sizes = arch.encoder
    streams = sizes.hidden_dims or (sizes.embed_dim,) * sizes.layers
    found = []
    for index, width in enumerate(streams):
        entry = leave = sizes.embed_dim if sizes.hidden_dims else None
        if merged and sizes.hidden_dims:
            entry = streams[index - 1] if index else entry
            leave = leave if index == sizes.layers - 1 else None
        qkv_dim = width if arch.head_dim is None else sizes.attention_heads * arch.head_dim
        found.append(Widths(entry, width, qkv_dim, sizes.ffn_dim, sizes.attention_heads, leave))
    return found
