"""What an algorithm sees of a search: new architectures within the limits, and the batches that it asks to evaluate."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.repair import Genes, repaired

Candidate = tuple[str, Genes]
"""Where an architecture comes from (largest, smallest, given, random, mutation, crossover, listed), and its genes."""

Fitness = tuple[float, ...]
"""One number for each objective, less is better."""

_TRIES = 200
_REPAIRS = 10
_REPAIR_STEPS = 1000
_REMEMBERED = 20_000
"""Architectures whose violation is kept: repairs in narrow windows come back to the same ones."""

ENUMERABLE = 50_000
"""Sequences of genes up to which a space is listed to the end."""


class NothingNew(Exception):
    """No further architecture within the limits was found."""


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
    """What an algorithm sees of a search: makes architectures that keep the limits, none of them twice.

    First come plain draws, as published. Where the limits leave too few of them, a draw is repaired: one
    or two genes are redrawn, and kept while the violation does not grow. In a small space the rest is listed.

    Args:
        space: the search space.
        violation: 0 for an architecture within the limits, else how far it is outside.
        rng: the only source of randomness.
        objectives: how many there are.
        given: architectures to start with, besides the largest and the smallest.
        known: architectures that are not made, but may be among the first.
    """

    def __init__(
        self,
        space: SearchSpace,
        violation: Callable[[Architecture], float],
        rng: random.Random,
        objectives: int = 1,
        given: Sequence[Architecture] = (),
        known: Iterable[Architecture] = (),
    ):
        self.space, self.rng, self.objectives = space, rng, objectives
        self.repaired = 0
        self._violation, self._given = lru_cache(_REMEMBERED)(violation), given
        self._taken: set[Architecture] = set()
        self._known = known
        self._choices = [gene.choices for gene in space.genes]
        self._size = prod(len(choices) for choices in self._choices)
        self._rest: Iterator[Genes] | None = None

    def first(self) -> list[Candidate]:
        """Returns the largest, the smallest and the given architectures, those within the limits."""
        named = [("largest", self.space.largest()), ("smallest", self.space.smallest())]
        named += [("given", architecture) for architecture in self._given]
        candidates = [(name, self.space.to_genes(architecture)) for name, architecture in named]
        candidates = [(name, genes) for name, genes in candidates if self.take(genes)]
        self._taken.update(self._known)
        return candidates

    def drawn(self) -> Candidate:
        """Returns a uniform draw.

        Raises:
            NothingNew: none was found.
        """
        return "random", self.draw()

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

    def take(self, genes: Genes) -> bool:
        """Takes an architecture if it keeps the limits and was not taken before; says whether it did."""
        architecture = self.space.from_genes(genes)
        if architecture in self._taken or self._violation(architecture) != 0:
            return False
        self._taken.add(architecture)
        return True

    def draw(self) -> Genes:
        """Draws every gene uniformly (HAT).

        Raises:
            NothingNew: none was found.
        """
        def make() -> Genes:
            return self.space.sample_genes(self.rng)

        found = self._try(make)
        if found is None and self._size <= ENUMERABLE:
            return self.list_next()
        if found is None:
            # The search ends if this fails: worth another effort.
            found = self._try(make) or self._try(make)
        if found is None:
            raise NothingNew
        return found

    def adapt(self, genes: Genes) -> Genes | None:
        """Takes these genes, or where they cannot be taken, near ones; None if nothing was found."""
        first = [genes]

        def make() -> Genes:
            if first:
                return first.pop()
            return self._redrawn(genes, 0.1)

        return self._try(make)

    def mutate(self, parents: list[Genes], probability: float) -> Genes | None:
        """Redraws each gene of a random parent with `probability`; None if nothing new was found."""

        return self._try(lambda: self._redrawn(self.rng.choice(parents), probability))

    def cross(self, parents: list[Genes]) -> Genes | None:
        """Takes each gene from either of two random parents; None if nothing new was found."""

        def make() -> Genes:
            pair = self.rng.choice(parents), self.rng.choice(parents)
            return tuple(self.rng.choice(values) for values in zip(*pair))

        return self._try(make)

    def _redrawn(self, genes: Genes, probability: float) -> Genes:
        return tuple(
            self.rng.choice(choices) if self.rng.random() < probability else value
            for value, choices in zip(genes, self._choices)
        )

    def _try(self, make: Callable[[], Genes]) -> Genes | None:
        for _ in range(_TRIES):
            genes = make()
            if self.take(genes):
                return genes

        def violation(genes: Genes) -> float:
            return self._violation(self.space.from_genes(genes))

        for _ in range(_REPAIRS):
            genes, left = repaired(self.space, make(), violation, self.rng, _REPAIR_STEPS)
            if left == 0 and self.take(genes):
                self.repaired += 1
                return genes
        return None

    def list_next(self) -> Genes:
        """Goes once through the space, so that nothing within the limits is missed.

        Raises:
            NothingNew: it has come to the end.
        """
        if self._rest is None:
            self._rest = product(*self._choices)
        for genes in self._rest:
            if self.take(genes):
                return genes
        raise NothingNew
