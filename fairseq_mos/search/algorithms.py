"""Search algorithms. They know neither models nor data nor files: only architectures and their fitness."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.search.proposals import Genes, NothingNew, Proposals


@dataclass(frozen=True)
class Settings:
    """Sizes of the evolutionary search; the defaults are HAT's (section 3.2).

    Attributes:
        population: architectures of the first generation.
        parents: how many of the best a generation is made from; they stay in the population.
        mutations: mutated children of a generation.
        crossovers: crossed children of a generation.
        mutation_prob: probability with which a mutation redraws each gene.

    Raises:
        UserError: sizes that make no search, naming the flag.
    """

    population: int = 125
    parents: int = 25
    mutations: int = 50
    crossovers: int = 50
    mutation_prob: float = 0.3

    def __post_init__(self) -> None:
        for name, least in (("population", 1), ("parents", 1), ("mutations", 0), ("crossovers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}, allowed: {least} or more")
        if self.parents > self.population:
            raise UserError(
                f"--parents is {self.parents}, allowed: at most --population, which is {self.population}"
            )
        if self.mutations + self.crossovers == 0:
            raise UserError("--mutations and --crossovers are both 0, allowed: 1 or more children altogether")
        if not 0 <= self.mutation_prob <= 1:
            raise UserError(f"--mutation-prob is {self.mutation_prob}, allowed: 0 to 1")

    def fit(self, budget: int) -> Settings:
        """Returns settings for a budget of evaluations.

        A budget below two populations would be spent before selection has any effect. Then all sizes shrink
        in proportion, so that the first generation takes a quarter of the budget.
        """
        if budget >= 2 * self.population:
            return self
        factor = budget / (4 * self.population)
        small = {
            name: max(1, round(size * factor)) if size else 0
            for name, size in asdict(self).items()
            if name != "mutation_prob"
        }
        # Crossing needs two parents to choose from.
        least = 2 if self.parents > 1 else 1
        small["parents"] = max(least, small["parents"])
        small["population"] = max(small["parents"], small["population"])
        return replace(self, **small)


class Problem:
    """What an algorithm sees of a search.

    Args:
        space: the search space.
        fitness: (architecture, origin) -> number, less is better; it ends the search by raising
            :class:`fairseq_mos.search.archive.BudgetSpent`.
        violation: 0 for an architecture within the limits, else how far it is outside.
        known: whether an architecture's fitness was asked for already.
        rng: the only source of randomness.
    """

    def __init__(
        self,
        space: SearchSpace,
        fitness: Callable[[Architecture, str], float],
        violation: Callable[[Architecture], float],
        known: Callable[[Architecture], bool],
        rng: random.Random,
    ):
        self.space, self.rng = space, rng
        self.proposals = Proposals(space, violation, known, rng)
        self._fitness = fitness

    def fitness(self, genes: Genes, origin: str) -> float:
        """Returns the fitness of the genes' architecture."""
        return self._fitness(self.space.from_genes(genes), origin)

    def ends(self) -> list[tuple[str, Genes]]:
        """Returns the largest and the smallest architecture, those within the limits."""
        named = (("largest", self.space.largest()), ("smallest", self.space.smallest()))
        genes = {name: self.space.to_genes(architecture) for name, architecture in named}
        return [(name, value) for name, value in genes.items() if self.proposals.feasible(value)]


def random_search(problem: Problem, settings: Settings) -> None:
    """The largest, the smallest, and uniform draws until the budget is spent.

    Raises:
        BudgetSpent: as it should.
        NothingNew: every architecture within the limits that could be found has been evaluated.
    """
    for origin, genes in problem.ends():
        problem.fitness(genes, origin)
    while True:
        problem.fitness(problem.proposals.draw(), "random")


def evolution(problem: Problem, settings: Settings) -> None:
    """The evolutionary search of HAT (section 3.2), which MoS uses too.

    Each generation keeps the best architectures so far as parents and adds mutated and crossed ones. Unlike
    the published code every child is new, and every generation is scored, the last one included.

    Raises:
        BudgetSpent: as it should.
        NothingNew: every architecture within the limits that could be found has been evaluated.
    """
    proposals = problem.proposals
    population: list[tuple[float, int, Genes]] = []

    def add(genes: Genes, origin: str) -> None:
        # Where fitness is equal, the earlier one is the better one.
        population.append((problem.fitness(genes, origin), len(population), genes))

    for origin, genes in problem.ends():
        add(genes, origin)
    while len(population) < settings.population:
        add(proposals.draw(), "random")
    while True:
        parents = [genes for _, _, genes in sorted(population)[: settings.parents]]
        for origin, count in (("mutation", settings.mutations), ("crossover", settings.crossovers)):
            for _ in range(count):
                if origin == "mutation":
                    child = proposals.mutate(parents, settings.mutation_prob)
                else:
                    child = proposals.cross(parents)
                if child is None:
                    add(proposals.draw(), "random")
                else:
                    add(child, origin)


ALGORITHMS: dict[str, Callable[[Problem, Settings], None]] = {"random": random_search, "evolution": evolution}
"""Name -> algorithm."""

__all__ = ["ALGORITHMS", "NothingNew", "Problem", "Settings", "evolution", "random_search"]
