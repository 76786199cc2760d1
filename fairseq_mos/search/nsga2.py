"""NSGA-II (Deb et al. 2002) through pymoo's ask and tell."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fairseq_mos.errors import UserError
from fairseq_mos.search.candidates import Batch, Fitness, Problem

if TYPE_CHECKING:
    from fairseq_mos.search.settings import Settings

_WORST = 1e30
"""What is not a number, for pymoo's sorting, which cannot deal with infinity."""


def nsga2(problem: Problem, settings: Settings) -> Generator[Batch, Sequence[Fitness], None]:
    """Searches the Pareto front of all objectives at once.

    A variable is the place of a gene's value among its choices. Crossover is uniform, mutation redraws or
    moves genes by one place or more (polynomial, rounded). A child that breaks a limit, or that was
    evaluated before, is replaced by a near one that does not.

    Raises:
        NothingNew: every architecture within the limits that could be found has been evaluated.
        UserError: pymoo is not installed.
    """
    try:
        import numpy as np
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem as Variables
        from pymoo.core.termination import NoTermination
        from pymoo.operators.crossover.ux import UX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
    except ImportError as error:
        raise UserError('--algorithm nsga2 needs pymoo: pip install "fairseq-mos[search]"') from error

    choices = [gene.choices for gene in problem.space.genes]
    variables = Variables(
        n_var=len(choices),
        n_obj=problem.objectives,
        xl=np.zeros(len(choices), int),
        xu=np.array([len(values) - 1 for values in choices]),
        vtype=int,
    )

    def place(genes):
        return [values.index(value) for values, value in zip(choices, genes)]

    def value(places):
        return tuple(values[int(i)] for values, i in zip(choices, places))

    def adapted(genes):
        return problem.child("child", problem.adapt(genes))

    first = problem.first()
    missing = max(0, settings.population - len(first))
    batch = problem.batch([problem.drawn] * missing, candidates=first)
    algorithm = NSGA2(
        pop_size=settings.population,
        n_offsprings=settings.mutations + settings.crossovers,
        sampling=np.array([place(genes) for _, genes in batch.candidates]),
        crossover=UX(prob=0.9),
        mutation=PM(prob=1.0, prob_var=1.5 / len(choices), eta=3.0, vtype=float, repair=RoundingRepair()),
        # Duplicates are our business: pymoo knows nothing of inactive layers.
        eliminate_duplicates=False,
    )
    algorithm.setup(variables, termination=NoTermination(), seed=problem.rng.randrange(2**32))
    algorithm.ask()
    while True:
        fitness = yield batch
        population = Population.new(X=np.array([place(genes) for _, genes in batch.candidates]))
        finite = [[x if math.isfinite(x) else _WORST for x in values] for values in fitness]
        population.set("F", np.array(finite, dtype=float))
        population.set("G", np.zeros((len(population), 0)))
        population.set("H", np.zeros((len(population), 0)))
        for individual in population:
            individual.evaluated.update(("F", "G", "H"))
        algorithm.tell(infills=population)
        batch = problem.batch([partial(adapted, value(x)) for x in algorithm.ask().get("X")])
