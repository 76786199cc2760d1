"""The sizes of one layer of an encoder, as networks are built from them and costs are counted by them."""

from __future__ import annotations

from typing import NamedTuple


class Widths(NamedTuple):
    """The sizes of one layer.

    Attributes:
        entry: width before its input bottleneck; None: there is none.
        width: of its stream.
        qkv_dim: total width of queries, keys and values.
        ffn_dim: width of the feed-forward block.
        heads: heads of the self-attention.
        leave: width behind its output bottleneck; None: there is none.
    """

    entry: int | None
    width: int
    qkv_dim: int
    ffn_dim: int
    heads: int
    leave: int | None
