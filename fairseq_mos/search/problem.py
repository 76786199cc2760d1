"""What an algorithm sees of a search, and the batches that it asks to evaluate."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.search.proposals import Genes, NothingNew, Proposals

Candidate = tuple[str, Genes]
"""Where an architecture comes from (largest, smallest, given, random, mutation, crossover, listed), and its genes."""

Fitness = tuple[float, ...]
"""One number for each objective, less is better."""


@dataclass(frozen=True)
class Batch:
    """Architectures to evaluate.

    Attributes:
        candidates: origin and genes of each.
        keep: only the best `keep` architectures of all that were evaluated matter for what follows, so
            that the evaluation of one that is clearly worse may be cut short; None: all of them matter.
    """

    candidates: Sequence[Candidate]
    keep: int | None = None


class Problem:
    """What an algorithm sees of a search.

    Args:
        space: the search space.
        violation: 0 for an architecture within the limits, else how far it is outside.
        rng: the only source of randomness.
        objectives: how many there are.
        given: architectures to start with, besides the largest and the smallest.
    """

    def __init__(
        self,
        space: SearchSpace,
        violation: Callable[[Architecture], float],
        rng: random.Random,
        objectives: int = 1,
        given: Sequence[Architecture] = (),
    ):
        self.space, self.rng, self.objectives = space, rng, objectives
        self.proposals = Proposals(space, violation, rng)
        self._given = given

    def first(self) -> list[Candidate]:
        """Returns the largest, the smallest and the given architectures, those within the limits."""
        named = [("largest", self.space.largest()), ("smallest", self.space.smallest())]
        named += [("given", architecture) for architecture in self._given]
        candidates = [(name, self.space.to_genes(architecture)) for name, architecture in named]
        return [(name, genes) for name, genes in candidates if self.proposals.take(genes)]

    def drawn(self) -> Candidate:
        """Returns a uniform draw.

        Raises:
            NothingNew: none was found.
        """
        return "random", self.proposals.draw()

    def child(self, origin: str, genes: Genes | None) -> Candidate:
        """Returns a child, or a uniform draw where there is none.

        Raises:
            NothingNew: no draw was found either.
        """
        return self.drawn() if genes is None else (origin, genes)

    def batch(
        self,
        makers: Sequence[Callable[[], Candidate]],
        keep: int | None = None,
        candidates: Sequence[Candidate] = (),
    ) -> Batch:
        """Makes a batch of `candidates` and what the makers make; a smaller one when nothing new is left.

        Raises:
            NothingNew: there is nothing to put into it.
        """
        made = list(candidates)
        for make in makers:
            try:
                made.append(make())
            except NothingNew:
                if not made:
                    raise
                break
        return Batch(made, keep)
