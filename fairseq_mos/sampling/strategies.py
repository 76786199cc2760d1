"""Which architectures an update trains: a function of (seed, update) alone.

So every rank and every micro-batch of an update draws the same ones, and a resumed run draws what the
uninterrupted one would have drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from fairseq_mos.arch import Architecture, SearchSpace


class Sampled(NamedTuple):
    """An architecture and the role under which its loss is logged."""

    role: str
    architecture: Architecture


def _random(space: SearchSpace, rng: random.Random, count: int) -> list[Sampled]:
    return [Sampled("random" if i == 0 else f"random{i + 1}", space.sample(rng)) for i in range(count)]


def sandwich(space: SearchSpace, rng: random.Random, num_random: int) -> list[Sampled]:
    """The sandwich rule: the largest (first, so that it can teach the others), the smallest, random ones."""
    ends = [Sampled("largest", space.largest()), Sampled("smallest", space.smallest())]
    return ends + _random(space, rng, num_random)


def uniform(space: SearchSpace, rng: random.Random, num_random: int) -> list[Sampled]:
    """Random architectures alone (HAT with one of them)."""
    return _random(space, rng, num_random)


STRATEGIES: dict[str, Callable[[SearchSpace, random.Random, int], list[Sampled]]] = {
    "sandwich": sandwich,
    "uniform": uniform,
}


def architectures_of_update(
    space: SearchSpace, strategy: str, num_random: int, seed: int, update: int
) -> list[Sampled]:
    """Returns the architectures that update number `update` trains.

    Args:
        space: the search space.
        strategy: a name of :data:`STRATEGIES`.
        num_random: how many random architectures.
        seed: seed of the run.
        update: number of the update.
    """
    # A string seeds through SHA-512: near seeds and updates give unrelated draws, in every process.
    rng = random.Random(f"architectures of update {update}, seed {seed}")
    return STRATEGIES[strategy](space, rng, num_random)


def representatives(space: SearchSpace, num_random: int) -> list[Sampled]:
    """Returns the architectures that validation measures: the largest, the smallest and fixed random ones.

    The random ones depend on the space alone, so that the losses of different runs compare.
    """
    return sandwich(space, random.Random("validation"), num_random)
