"""Where in a search space architectures are drawn from."""

from __future__ import annotations

import random

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.repair import Genes, repaired
from fairseq_mos.families import family_of

_DRAWS = 16
"""Uniform draws until one of them is moved to where it should be."""

_STEPS = 400
"""Of such a move. Both bound what an update's sampling can take: about 100 ms in the largest shipped space."""


class WholeSpace:
    """All of a search space: every gene is drawn uniformly, as in HAT."""

    def __init__(self, space: SearchSpace):
        self.space = space

    def draw(self, rng: random.Random) -> Genes:
        """Draws an architecture."""
        return tuple(rng.choice(gene.choices) for gene in self.space.genes)

    def ends(self, rng: random.Random) -> tuple[Architecture, Architecture]:
        """Returns what the sandwich rule takes as the largest and the smallest architecture."""
        return self.space.largest(), self.space.smallest()

    def contains(self, architecture: Architecture) -> bool:
        """Whether :meth:`draw` might return it."""
        return True


class CostBins(WholeSpace):
    """Costs are drawn first, then an architecture that has them (ShiftNAS): uniform genes hardly ever meet extremes.

    A bin is drawn uniformly, and in it an architecture: by rejection from uniform draws, and where a few of
    them all miss, by moving the nearest. In a bin without architectures, it is one nearby.

    Args:
        space: the search space.
        bins: how many, of equal width in FLOPs.
        low: FLOPs where the first begins; those of the smallest architecture by default.
        high: FLOPs where the last ends; those of the largest by default.
    """

    def __init__(self, space: SearchSpace, bins: int, low: float | None = None, high: float | None = None):
        super().__init__(space)
        self.flops = family_of(space).flops
        self.bins = bins
        self.low = self.flops(space.smallest()) if low is None else low
        self.high = self.flops(space.largest()) if high is None else high

    def draw(self, rng: random.Random) -> Genes:
        bin_ = rng.randrange(self.bins)
        width = self.high - self.low
        return self.between(self.low + width * bin_ / self.bins, self.low + width * (bin_ + 1) / self.bins, rng)

    def between(self, low: float, high: float, rng: random.Random) -> Genes:
        """Draws an architecture of `low` to `high` FLOPs, or one near them if none was found."""

        def violation(architecture: Architecture) -> float:
            flops = self.flops(architecture)
            return max(low - flops, flops - high, 0)

        nearest: list[tuple[float, Genes]] = []
        for _ in range(_DRAWS):
            genes = super().draw(rng)
            left = violation(self.space.from_genes(genes))
            if left == 0:
                return genes
            nearest.append((left, genes))
        return repaired(self.space, min(nearest)[1], violation, rng, _STEPS)[0]
