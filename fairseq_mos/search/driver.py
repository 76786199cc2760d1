"""One search from its arguments to its files: ties algorithm, limits, evaluator and log together."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from fairseq_mos.errors import UserError
from fairseq_mos.journal import Journal
from fairseq_mos.search.again import SecondSearch
from fairseq_mos.search.archive import Archive
from fairseq_mos.search.budget import Budget, check_budget
from fairseq_mos.search.candidates import Problem
from fairseq_mos.search.confirm import Confirmation, check_confirmed, confirm
from fairseq_mos.search.constraints import check_reachable
from fairseq_mos.search.costs import descend
from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.plan import LOG, STATE, Plan
from fairseq_mos.search.ranks import Ranks
from fairseq_mos.search.results import fronts, write_best, write_tables
from fairseq_mos.search.stepping import drive, order, ranked

Progress = Callable[[Evaluation, bool], None]


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        best: the best evaluation, of those that keep their limits when measured.
        evaluations: all of them, in order.
        replayed: how many of them came from the log of an earlier run.
        repaired: how many draws only a repair brought within the limits.
        exhausted: whether it ended early because nothing new within the limits was found.
        confirmations: measurements of winners whose limited quantity was predicted; the last one is the best's.
        times: how many evaluations there were after how many seconds.
    """

    best: Evaluation
    evaluations: Sequence[Evaluation]
    replayed: int
    repaired: int
    exhausted: bool
    confirmations: Sequence[Confirmation] = ()
    times: Sequence[Sequence[float]] = ()


def run_search(plan: Plan, output: str | Path, progress: Progress | None = None, ranks: Ranks | None = None) -> Result:
    """Runs a search, or continues one, and writes its results to the folder `output`.

    Args:
        plan: what to do; the same on every rank.
        output: folder of the log and the results, written by the first rank.
        progress: called after each evaluation with it and with whether it came from the log.
        ranks: the processes that share the evaluations; by default this one alone.

    Raises:
        UserError: limits that cannot be met, an unwritable folder, or one that holds another search.
    """
    ranks = ranks or Ranks()
    check_budget(plan.budget, plan.minutes)
    check_reachable(plan.constraints, plan.space, plan.costs)
    folder = Path(output)
    problem = Problem(
        plan.space,
        plan.violation,
        # A string seeds through SHA-512: near seeds give unrelated draws, in every process.
        random.Random(f"search {plan.algorithm}, seed {plan.seed}"),
        len(plan.objectives),
        plan.given,
    )
    log = budget = None
    about = {**plan.about, **plan.recorded()}
    with ranks.together():
        if ranks.is_main:
            log = Journal(folder / LOG, plan.signature(), about)
            budget = Budget(plan.budget, plan.minutes, folder / STATE)
    with log or nullcontext():
        budget = budget or Budget(plan.budget, plan.minutes)
        archive = Archive(
            plan.costs,
            log,
            budget,
            progress if ranks.is_main else None,
            ranks,
            lambda: Journal(folder / "completed.jsonl", plan.signature()),
            plan.objectives,
        )
        exhausted = drive(plan, problem, archive)
        if not archive.evaluations:
            if log is not None:
                # A search that never began: nothing should stand in the way of the next one.
                log.path.unlink()
            raise UserError(_nothing(plan))
        # What follows takes time, but is no evaluation.
        budget.note(len(archive.evaluations))
        _complete_fronts(plan, archive)
        confirmations: Sequence[Confirmation] = ()
        with ranks.together():
            if ranks.is_main:
                # Should no winner hold what was predicted, the tables are there all the same.
                write_tables(folder, archive.evaluations, plan)
                if plan.remeasure is not None:
                    say = None if progress is None else partial(tqdm.write, file=sys.stderr)
                    limits = [limit for limit in plan.constraints if limit.name == plan.predicted.name and limit.upper]
                    confirmations = confirm(
                        archive.evaluations,
                        lambda evaluation: order(plan, evaluation),
                        limits,
                        plan.predicted,
                        plan.remeasure,
                        # The other ranks are waiting.
                        lambda evaluation: archive.complete([evaluation], plan.evaluate, Ranks())[0],
                        folder / "measured.jsonl",
                        say=say,
                        more=SecondSearch(plan, archive, folder, say),
                    )
                    write_tables(folder, archive.evaluations, plan, confirmations)
                    check_confirmed(confirmations, limits, plan.predicted)
        confirmations = ranks.broadcast(confirmations)
        best = confirmations[-1].evaluation if confirmations else ranked(plan, archive)[0]
        with ranks.together():
            if ranks.is_main:
                write_best(folder, best, plan, confirmations)
                budget.save(len(archive.evaluations), finished=True)
    repaired = problem.repaired
    return Result(best, archive.evaluations, archive.replayed, repaired, exhausted, confirmations, budget.times)


def _complete_fronts(plan: Plan, archive: Archive) -> None:
    """Measures in full what racing has stopped, as far as the fronts would consist of it.

    An architecture that is clearly worse than the incumbent may still be the best one of its cost.
    """
    while True:
        found = {e.index: e for front in fronts(archive.evaluations, plan).values() for e in front if not e.full}
        if not found:
            return
        archive.complete([found[index] for index in sorted(found)], plan.evaluate)


def _nothing(plan: Plan) -> str:
    """Says why nothing was evaluated; describes the architecture that misses the limits least, as far as found."""
    rng = random.Random("nearest")
    candidates = [plan.space.smallest(), plan.space.largest()]
    candidates += [plan.space.sample(rng) for _ in range(1000)]

    def value(genes: Sequence[int]) -> float:
        return plan.violation(plan.space.from_genes(genes))

    genes = descend(plan.space, plan.space.to_genes(min(candidates, key=plan.violation)), value)
    if plan.minutes is not None and value(genes) == 0:
        # There was something to evaluate, but no time.
        return f"--minutes {plan.minutes:g} were over before the first evaluation: give more"
    nearest = plan.space.from_genes(genes)
    costs = plan.costs(nearest)
    names = dict.fromkeys(constraint.name for constraint in plan.constraints)
    values = " and ".join(f"{name} {costs[name]}" for name in names)
    limits = ", ".join(map(str, plan.constraints))
    return (
        f"no architecture of search space {plan.space.name!r} within the limits {limits} was found: nearest is "
        f"architecture {nearest.digest()} with {values}: {nearest.to_json()}"
    )
