"""Architectures as numbers for a latency predictor.

Unlike what a router reads (:mod:`fairseq_mos.arch.encoding`), these are raw sizes and products of sizes: the
time of a layer is close to linear in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.encoding import mean, padded, quantities
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of

KINDS = ("layers", "mean")


def mean_features(arch: Architecture) -> list[float]:
    """Returns each stack's widths, depth and means over layers (HAT, section 3.3): the family's `mean_names`."""
    values: list[float] = []
    for once, lists in quantities(arch):
        values += [*once, *map(mean, lists)]
    return values


def mean_products(space: SearchSpace, means: Sequence[float]) -> list[float]:
    """Extends :func:`mean_features` by the products of the space's family."""
    return family_of(space).products(means, [choices.layers[0] for choices in space.choices])


def layer_features(space: SearchSpace, arch: Architecture) -> list[float]:
    """Returns :func:`mean_products` and every layer's own sizes; those of inactive layers are 0.

    Args:
        space: fixes the number of layers, and so the length.
        arch: an architecture of it.
    """
    values = mean_products(space, mean_features(arch))
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
    return layer_features(space, arch) if kind == "layers" else mean_products(space, mean_features(arch))
