"""The steps of a search: an algorithm proposes, the archive evaluates, until the budget is spent."""

from __future__ import annotations

from functools import partial

from fairseq_mos.search.algorithms import ALGORITHMS
from fairseq_mos.search.archive import Archive, BudgetSpent
from fairseq_mos.search.candidates import NothingNew, Problem
from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.plan import Plan
from fairseq_mos.search.quantities import QUANTITIES


def drive(plan: Plan, problem: Problem, archive: Archive) -> bool:
    """Runs the algorithm until the budget is spent; returns whether it ran out of architectures before."""
    algorithm = ALGORITHMS[plan.algorithm](problem, plan.effective_settings())
    try:
        batch = next(algorithm)
        while True:
            measure = plan.evaluate
            if plan.races() and batch.keep is not None:
                incumbents = ranked(plan, archive)[: batch.keep]
                # Fixed for the whole batch: what is cut short does not depend on the order within it.
                if len(incumbents) == batch.keep:
                    measure = partial(plan.race, incumbent=incumbents[-1].architecture)
            proposed = [(origin, plan.space.from_genes(genes)) for origin, genes in batch.candidates]
            evaluations = archive.evaluate(proposed, measure, plan.expect)
            batch = algorithm.send([_fitness(plan, evaluation) for evaluation in evaluations])
    except BudgetSpent:
        return False
    except NothingNew:
        return True


def _fitness(plan: Plan, evaluation: Evaluation) -> tuple[float, ...]:
    return tuple(QUANTITIES[name].fitness(evaluation) for name in plan.objectives)


def order(plan: Plan, evaluation: Evaluation) -> tuple[float, int]:
    """Returns what evaluations are sorted by, best first: the first objective."""
    return _fitness(plan, evaluation)[0], evaluation.index


def ranked(plan: Plan, archive: Archive) -> list[Evaluation]:
    """Returns what was measured in full, best first."""
    full = (evaluation for evaluation in archive.evaluations if evaluation.full)
    return sorted(full, key=lambda evaluation: order(plan, evaluation))
