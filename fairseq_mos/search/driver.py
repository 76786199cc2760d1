"""One search from its arguments to its files: ties algorithm, limits, evaluator and log together."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.journal import Journal
from fairseq_mos.search.algorithms import ALGORITHMS, NothingNew, Settings
from fairseq_mos.search.archive import Archive, BudgetSpent, Evaluation, Values
from fairseq_mos.search.budget import Budget, check_budget
from fairseq_mos.search.confirm import Confirmation, confirm
from fairseq_mos.search.constraints import Constraint, check_reachable
from fairseq_mos.search.costs import CostModel
from fairseq_mos.search.objectives import OBJECTIVES
from fairseq_mos.search.problem import Problem
from fairseq_mos.search.ranks import Ranks
from fairseq_mos.search.results import write_results

Progress = Callable[[Evaluation, bool], None]


@dataclass(frozen=True)
class Plan:
    """What to search for, and how.

    Attributes:
        space: the search space.
        costs: the cost model.
        evaluate: architecture -> measured values, the objectives among them.
        measured: what these values depend on (supernet, data, device, versions): part of the signature.
        algorithm: a name of :data:`fairseq_mos.search.algorithms.ALGORITHMS`.
        budget: how many architectures to evaluate.
        minutes: how long the search may take, over all its runs; None: any time.
        seed: seed of the algorithm.
        constraints: limits that every evaluated architecture keeps.
        settings: sizes of the evolutionary search and of NSGA-II.
        objectives: names of :data:`fairseq_mos.search.objectives.OBJECTIVES`; the first one picks the winner.
        given: architectures to start with.
        race: (architecture, incumbent) -> measured values; may stop early where the architecture is clearly
            worse than the incumbent, with `raced` 1 then. None: every evaluation is a full one.
        measure_latency: architecture -> measured `latency_ms` and its quartiles, to confirm winners.
        about: what else the log's header should say, such as paths.
    """

    space: SearchSpace
    costs: CostModel
    evaluate: Callable[[Architecture], Values]
    measured: Mapping[str, object]
    algorithm: str = "evolution"
    budget: int = 3125
    minutes: float | None = None
    seed: int = 1
    constraints: Sequence[Constraint] = ()
    settings: Settings = field(default_factory=Settings)
    objectives: tuple[str, ...] = ("loss",)
    given: Sequence[Architecture] = ()
    race: Callable[[Architecture, Architecture], Values] | None = None
    measure_latency: Callable[[Architecture], Values] | None = None
    about: Mapping[str, object] = field(default_factory=dict)

    def effective_settings(self) -> Settings:
        """Returns the settings that fit the budget."""
        return self.settings.fit(self.budget) if self.algorithm in ("evolution", "nsga2") else self.settings

    def races(self) -> bool:
        """Whether evaluations may be cut short: only where the loss alone decides."""
        return self.race is not None and self.objectives == ("loss",)

    def signature(self) -> dict[str, object]:
        """Returns all that the log's lines depend on.

        The budget is not among it: a finished search can be continued with a larger one, as long as that
        does not change the sizes of the evolution.
        """
        signature: dict[str, object] = {
            "space": f"{self.space.name}-{self.space.digest()}",
            **self.measured,
            "algorithm": self.algorithm,
            "objectives": list(self.objectives),
            "seed": self.seed,
            "constraints": [str(constraint) for constraint in self.constraints],
        }
        if self.costs.predictor is not None:
            signature["latency_predictor"] = self.costs.predictor.digest()
        if self.given:
            signature["given"] = [architecture.digest() for architecture in self.given]
        if self.races():
            signature["racing"] = True
        if self.algorithm in ("evolution", "nsga2"):
            signature["settings"] = asdict(self.effective_settings())
        return signature

    def violation(self, architecture: Architecture) -> float:
        """Returns 0 for an architecture within the limits, else how far it is outside."""
        if not self.constraints:
            return 0.0
        costs = self.costs(architecture)
        return sum(constraint.violation(costs) for constraint in self.constraints)


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        best: the best evaluation, of those that keep a latency limit when measured.
        evaluations: all of them, in order.
        replayed: how many of them came from the log of an earlier run.
        repaired: how many draws only a repair brought within the limits.
        exhausted: whether it ended early because nothing new within the limits was found.
        confirmations: measured latencies of winners, in the order of their fitness; the last one is the best's.
    """

    best: Evaluation
    evaluations: Sequence[Evaluation]
    replayed: int
    repaired: int
    exhausted: bool
    confirmations: Sequence[Confirmation] = ()


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
    with ranks.together():
        if ranks.is_main:
            log = Journal(folder / "evaluations.jsonl", plan.signature(), plan.about)
            budget = Budget(plan.budget, plan.minutes, folder / "state.json")
    with log or nullcontext():
        budget = budget or Budget(plan.budget, plan.minutes)
        archive = Archive(plan.costs, log, budget, progress if ranks.is_main else None, ranks)
        exhausted = _drive(plan, problem, archive)
        if not archive.evaluations:
            limits = ", ".join(map(str, plan.constraints))
            raise UserError(
                f"no architecture of search space {plan.space.name!r} within the limits {limits} was found: "
                f"nearest is {_nearest(plan)}"
            )
        ranked = _ranked(plan, archive)
        confirmations: Sequence[Confirmation] = ()
        with ranks.together():
            if ranks.is_main and plan.measure_latency is not None:
                limits = [c for c in plan.constraints if c.name == "latency_ms" and c.upper]
                confirmations = confirm(ranked, limits, plan.measure_latency, folder / "measured.jsonl")
        confirmations = ranks.broadcast(confirmations)
        best = confirmations[-1].evaluation if confirmations else ranked[0]
        with ranks.together():
            if ranks.is_main:
                write_results(folder, archive.evaluations, best, plan, confirmations)
                budget.save(len(archive.evaluations), finished=True)
    return Result(best, archive.evaluations, archive.replayed, problem.proposals.repaired, exhausted, confirmations)


def _drive(plan: Plan, problem: Problem, archive: Archive) -> bool:
    """Runs the algorithm until the budget is spent; returns whether it ran out of architectures before."""
    algorithm = ALGORITHMS[plan.algorithm](problem, plan.effective_settings())
    try:
        batch = next(algorithm)
        while True:
            measure = plan.evaluate
            if plan.races() and batch.keep is not None:
                incumbents = _ranked(plan, archive)[: batch.keep]
                # Fixed for the whole batch: what is cut short does not depend on the order within it.
                if len(incumbents) == batch.keep:
                    measure = _against(plan.race, incumbents[-1].architecture)
            proposed = [(origin, plan.space.from_genes(genes)) for origin, genes in batch.candidates]
            evaluations = archive.evaluate(proposed, measure)
            batch = algorithm.send([_fitness(plan, evaluation) for evaluation in evaluations])
    except BudgetSpent:
        return False
    except NothingNew:
        return True


def _against(race, incumbent: Architecture) -> Callable[[Architecture], Values]:
    return lambda architecture: race(architecture, incumbent)


def _fitness(plan: Plan, evaluation: Evaluation) -> tuple[float, ...]:
    return tuple(OBJECTIVES[name].fitness(evaluation) for name in plan.objectives)


def _ranked(plan: Plan, archive: Archive) -> list[Evaluation]:
    """Returns what was measured in full, best first."""
    return sorted(
        (evaluation for evaluation in archive.evaluations if evaluation.full),
        key=lambda evaluation: (_fitness(plan, evaluation)[0], evaluation.index),
    )


def _nearest(plan: Plan) -> str:
    """Describes the architecture that misses the limits least among the ends and some random ones."""
    rng = random.Random("nearest")
    candidates = [plan.space.smallest(), plan.space.largest()]
    candidates += [plan.space.sample(rng) for _ in range(1000)]
    nearest = min(candidates, key=plan.violation)
    costs = plan.costs(nearest)
    names = dict.fromkeys(constraint.name for constraint in plan.constraints)
    values = " and ".join(f"{name} {costs[name]}" for name in names)
    return f"architecture {nearest.digest()} with {values}"
