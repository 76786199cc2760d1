"""Architectures as vectors: what a router reads.

An encoding is a function in :data:`ENCODINGS`; adding one there is all that a new one needs. All values
are divided by the largest that the space allows, so that they lie in [0, 1] for every space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.reading import listed
from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.errors import UserError


def encode(space: SearchSpace, arch: Architecture, kind: str) -> tuple[float, ...]:
    """Returns the architecture as a vector of :func:`encoding_dim` values in [0, 1].

    Args:
        space: the space whose maxima normalise the values.
        arch: an architecture of that space.
        kind: a key of :data:`ENCODINGS`.

    Raises:
        UserError: an unknown kind.
    """
    return _encoding(kind)(space, arch)


def encoding_dim(space: SearchSpace, kind: str) -> int:
    """Returns the length of the vectors of :func:`encode`, the same for all architectures of a space.

    Raises:
        UserError: an unknown kind.
    """
    return len(encode(space, space.largest(), kind))


def encode_mean(space: SearchSpace, arch: Architecture) -> tuple[float, ...]:
    """Returns each stack's widths, depth, and means over its active layers.

    For translation these are the 10 features of MoS and HAT's latency predictor: encoder embed, layers, mean FFN,
    mean heads; decoder embed, layers, mean FFN, mean self-attention heads, mean cross-attention heads, mean memory
    states (arbitrary attention as 1, 2, 3).
    """
    features = []
    for once, lists, _ in _normalised(space, arch):
        features += once
        features += [mean(values) for values in lists]
    return tuple(features)


def encode_full(space: SearchSpace, arch: Architecture) -> tuple[float, ...]:
    """Returns every layer's values in the order of `space.genes`; those of inactive layers are 0."""
    features = []
    for once, lists, depth in _normalised(space, arch):
        features += once
        for values in lists:
            features += padded(values, depth)
    return tuple(features)


ENCODINGS: dict[str, Callable[[SearchSpace, Architecture], tuple[float, ...]]] = {
    "mean": encode_mean,
    "full": encode_full,
}
"""Name of the encoding (`--arch-encoding`) -> function of space and architecture."""


def quantities(arch: Architecture) -> Iterator[tuple[list[float], list[list[float]]]]:
    """Yields each stack's widths and depth, and a list of quantities a layer for each per-layer trait."""
    for stack, sizes in zip(arch.schema.stacks, arch.stacks):
        once = [trait.quantity(getattr(sizes, trait.name)) for trait in stack.once]
        lists = [[trait.quantity(value) for value in getattr(sizes, trait.name)] for trait in stack.each_of(sizes)]
        yield [*once, sizes.layers], lists


def mean(values: Sequence[float]) -> float:
    """Returns the mean."""
    return sum(values) / len(values)


def padded(values: Sequence[float], depth: int) -> list[float]:
    """Returns the values as floats, with zeros for the layers up to `depth` that are not active."""
    return [float(value) for value in values] + [0.0] * (depth - len(values))


def _encoding(kind: str) -> Callable[[SearchSpace, Architecture], tuple[float, ...]]:
    if kind not in ENCODINGS:
        raise UserError(f"architecture encoding is {kind!r}, allowed: {listed(ENCODINGS)}")
    return ENCODINGS[kind]


def _normalised(space: SearchSpace, arch: Architecture) -> Iterator[tuple[list[float], list[list[float]], int]]:
    """Yields for each stack: widths and depth, the lists of its active layers, divided by the maxima; its depth."""
    for stack, choices, (once, lists) in zip(space.schema.stacks, space.choices, quantities(arch)):
        keys = (*stack.single, *(trait.name for trait in stack.each_of(choices)))
        most = [max(map(stack.trait(key).quantity, getattr(choices, key))) for key in keys]
        yield (
            [value / top for value, top in zip(once, most)],
            [[value / top for value in values] for values, top in zip(lists, most[len(once) :])],
            choices.layers[0],
        )
