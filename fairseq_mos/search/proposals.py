"""New architectures within the limits: drawn, mutated, crossed; always in a bounded number of tries."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product
from math import prod

from fairseq_mos.arch import Architecture, SearchSpace

Genes = tuple[int, ...]
"""One value for each gene of the space. Unlike an architecture it keeps what inactive layers chose, so that
a child that grows deeper inherits it (HAT)."""

_TRIES = 200
_REPAIRS = 10
_REPAIR_STEPS = 1000
_ENUMERABLE = 50_000


class NothingNew(Exception):
    """No further architecture within the limits was found."""


class Proposals:
    """Makes architectures that keep the limits and were not evaluated yet.

    First come plain draws, as published. Where the limits leave too few of them, a draw is repaired: one
    or two genes are redrawn, and kept while the violation does not grow. In a small space the rest is listed.

    Args:
        space: the search space.
        violation: 0 for an architecture within the limits, else how far it is outside.
        known: whether an architecture was evaluated already.
        rng: the only source of randomness.
    """

    def __init__(
        self,
        space: SearchSpace,
        violation: Callable[[Architecture], float],
        known: Callable[[Architecture], bool],
        rng: random.Random,
    ):
        self.space, self.rng = space, rng
        self.repaired = 0
        self._violation, self._known = violation, known
        self._choices = [gene.choices for gene in space.genes]
        self._size = prod(len(choices) for choices in self._choices)
        self._rest: Iterator[Genes] | None = None

    def feasible(self, genes: Genes) -> bool:
        """Whether the genes' architecture keeps the limits."""
        return self._violation(self.space.from_genes(genes)) == 0

    def draw(self) -> Genes:
        """Draws every gene uniformly (HAT).

        Raises:
            NothingNew: none was found.
        """

        def make() -> Genes:
            return tuple(self.rng.choice(choices) for choices in self._choices)

        found = self._try(make)
        if found is None and self._size <= _ENUMERABLE:
            found = next(self._listing(), None)
        elif found is None:
            # The search ends if this fails: worth another effort.
            found = self._try(make) or self._try(make)
        if found is None:
            raise NothingNew
        return found

    def mutate(self, parents: list[Genes], probability: float) -> Genes | None:
        """Redraws each gene of a random parent with `probability`; None if nothing new was found."""

        def make() -> Genes:
            parent = self.rng.choice(parents)
            return tuple(
                self.rng.choice(choices) if self.rng.random() < probability else value
                for value, choices in zip(parent, self._choices)
            )

        return self._try(make)

    def cross(self, parents: list[Genes]) -> Genes | None:
        """Takes each gene from either of two random parents; None if nothing new was found."""

        def make() -> Genes:
            pair = self.rng.choice(parents), self.rng.choice(parents)
            return tuple(self.rng.choice(values) for values in zip(*pair))

        return self._try(make)

    def _try(self, make: Callable[[], Genes]) -> Genes | None:
        for _ in range(_TRIES):
            genes = make()
            architecture = self.space.from_genes(genes)
            if not self._known(architecture) and self._violation(architecture) == 0:
                return genes
        for _ in range(_REPAIRS):
            genes = self._repair(make())
            if genes is not None and not self._known(self.space.from_genes(genes)):
                self.repaired += 1
                return genes
        return None

    def _repair(self, genes: Genes) -> Genes | None:
        violation = self._violation(self.space.from_genes(genes))
        for _ in range(_REPAIR_STEPS):
            if violation == 0:
                return genes
            changed = list(genes)
            # In a narrow window, one gene alone often overshoots what another one has to give back.
            for _ in range(self.rng.randint(1, 2)):
                place = self.rng.randrange(len(genes))
                changed[place] = self.rng.choice(self._choices[place])
            after = self._violation(self.space.from_genes(changed))
            if after <= violation:
                genes, violation = tuple(changed), after
        return genes if violation == 0 else None

    def _listing(self) -> Iterator[Genes]:
        """Goes once through a small space, so that nothing within the limits is missed."""
        if self._rest is None:
            self._rest = self._list()
        return self._rest

    def _list(self) -> Iterator[Genes]:
        for genes in product(*self._choices):
            architecture = self.space.from_genes(genes)
            if not self._known(architecture) and self._violation(architecture) == 0:
                yield genes
