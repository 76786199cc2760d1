"""What the parts of a network cost, from their sizes alone: nothing is built or run.

Parameters, FLOPs and pictures are sums over :class:`Cost` records, which each family yields for its architectures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

VOCABULARY = ("embedding", "output")
"""Kinds that the counts without a vocabulary leave out."""


class Cost(NamedTuple):
    """What one part costs.

    Attributes:
        kind: `attention`, `feed-forward`, `norm`, `embedding`, `output`, or one of a family's own.
        parameters: how many it has.
        macs: multiply-accumulates of its matrix products in one pass of one sentence.
    """

    kind: str
    parameters: int
    macs: int = 0


@dataclass(frozen=True)
class Parameters:
    """Parameter counts.

    Attributes:
        total: everything; equals `no_embed` where no vocabulary was given.
        no_embed: without embeddings and output layer.
    """

    total: int
    no_embed: int


def counted(costs: Iterable[Cost]) -> Parameters:
    """Returns the parameters of all parts."""
    total = no_embed = 0
    for cost in costs:
        total += cost.parameters
        no_embed += 0 if cost.kind in VOCABULARY else cost.parameters
    return Parameters(total, no_embed)


def attention(query_dim: int, memory_dim: int, qkv_dim: int, queries: int, keys: int) -> Cost:
    """Four linear layers with bias (q and out on the query side, k and v on the memory side) and two products.

    Queries times keys and weights times values count over full lengths: a causal mask saves nothing in a dense product.
    """
    parameters = 2 * qkv_dim * (query_dim + memory_dim) + 3 * qkv_dim + query_dim
    linear = 2 * queries * query_dim * qkv_dim + 2 * keys * memory_dim * qkv_dim
    return Cost("attention", parameters, linear + 2 * queries * keys * qkv_dim)


def feed_forward(dim: int, ffn_dim: int, tokens: int) -> Cost:
    """Two linear layers with bias."""
    return Cost("feed-forward", 2 * dim * ffn_dim + ffn_dim + dim, 2 * tokens * dim * ffn_dim)


def linear(kind: str, inputs: int, outputs: int, tokens: int) -> Cost:
    """A linear layer with bias."""
    return Cost(kind, (inputs + 1) * outputs, tokens * inputs * outputs)


def norm(dim: int) -> Cost:
    """Scale and shift of a layer norm, whose work is no matrix product."""
    return Cost("norm", 2 * dim)
