"""Search algorithms. They know neither models nor data nor files: only architectures and their fitness.

An algorithm is a generator: it yields batches of architectures to evaluate and is sent their fitness. Whoever
drives it may evaluate a batch in any order, on any number of processes, without changing what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from fairseq_mos.search.candidates import Batch, Candidate, Fitness, Genes, Problem
from fairseq_mos.search.nsga2 import nsga2
from fairseq_mos.search.settings import Settings

RANDOM_BATCH = 16
"""Architectures that random search draws at a time."""

Algorithm = Callable[[Problem, Settings], Generator[Batch, Sequence[Fitness], None]]


def random_search(problem: Problem, settings: Settings) -> Generator[Batch, Sequence[Fitness], None]:
    """The first architectures of the problem, then uniform draws for ever.

    Raises:
        NothingNew: every architecture within the limits that could be found has been evaluated.
    """
    first = problem.first()
    if first:
        yield Batch(first, keep=1)
    while True:
        yield problem.batch([problem.drawn] * RANDOM_BATCH, keep=1)


def exhaustive(problem: Problem, settings: Settings) -> Generator[Batch, Sequence[Fitness], None]:
    """Every architecture within the limits, in the order of the space's genes.

    Raises:
        NothingNew: all of them have been evaluated.
    """

    def make() -> Candidate:
        return "listed", problem.list_next()

    while True:
        yield problem.batch([make] * RANDOM_BATCH, keep=1)


def evolution(problem: Problem, settings: Settings) -> Generator[Batch, Sequence[Fitness], None]:
    """The evolutionary search of HAT (section 3.2), which MoS uses too.

    Each generation keeps the best architectures so far as parents and adds mutated and crossed ones. Unlike
    the published code every child is new, and every generation is scored, the last one included.

    Raises:
        NothingNew: every architecture within the limits that could be found has been evaluated.
    """
    first = problem.first()
    missing = max(0, settings.population - len(first))
    batch = problem.batch([problem.drawn] * missing, settings.parents, first)
    parents: list[Genes] = []

    def mutated() -> Candidate:
        return problem.child("mutation", problem.mutate(parents, settings.mutation_prob))

    def crossed() -> Candidate:
        return problem.child("crossover", problem.cross(parents))

    # Where fitness is equal, the earlier one is the better one.
    population: list[tuple[float, int, Genes]] = []
    while True:
        for (_, genes), fitness in zip(batch.candidates, (yield batch)):
            population.append((fitness[0], len(population), genes))
        parents = [genes for _, _, genes in sorted(population)[: settings.parents]]
        batch = problem.batch([mutated] * settings.mutations + [crossed] * settings.crossovers, settings.parents)


ALGORITHMS: dict[str, Algorithm] = {
    "random": random_search,
    "evolution": evolution,
    "nsga2": nsga2,
    "exhaustive": exhaustive,
}
"""Name -> algorithm."""
