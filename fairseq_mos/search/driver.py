"""One search from its arguments to its files: ties algorithm, limits, evaluator and log together."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.search.algorithms import ALGORITHMS, NothingNew, Problem, Settings
from fairseq_mos.search.archive import Archive, BudgetSpent, Evaluation
from fairseq_mos.search.constraints import Constraint, check_reachable
from fairseq_mos.search.costs import CostModel
from fairseq_mos.search.log import EvaluationLog
from fairseq_mos.search.objectives import OBJECTIVES
from fairseq_mos.search.results import write_results


@dataclass(frozen=True)
class Plan:
    """What to search for, and how.

    Attributes:
        space: the search space.
        costs: the cost model.
        evaluate: architecture -> measured values, `loss` among them.
        measured: what these values depend on (supernet, data, device, versions): part of the signature.
        algorithm: a name of :data:`fairseq_mos.search.algorithms.ALGORITHMS`.
        budget: how many architectures to evaluate.
        seed: seed of the algorithm.
        constraints: limits that every evaluated architecture keeps.
        settings: sizes of the evolutionary search.
        objective: a name of :data:`fairseq_mos.search.objectives.OBJECTIVES`.
        about: what else the log's header should say, such as paths.
    """

    space: SearchSpace
    costs: CostModel
    evaluate: Callable[[Architecture], Mapping[str, float]]
    measured: Mapping[str, object]
    algorithm: str = "evolution"
    budget: int = 3125
    seed: int = 1
    constraints: Sequence[Constraint] = ()
    settings: Settings = field(default_factory=Settings)
    objective: str = "loss"
    about: Mapping[str, object] = field(default_factory=dict)

    def effective_settings(self) -> Settings:
        """Returns the settings that fit the budget."""
        return self.settings.fit(self.budget) if self.algorithm == "evolution" else self.settings

    def signature(self) -> dict[str, object]:
        """Returns all that the log's lines depend on.

        The budget is not among it: a finished search can be continued with a larger one, as long as that
        does not change the sizes of the evolution.
        """
        signature: dict[str, object] = {
            "space": f"{self.space.name}-{self.space.digest()}",
            **self.measured,
            "algorithm": self.algorithm,
            "objective": self.objective,
            "seed": self.seed,
            "constraints": [str(constraint) for constraint in self.constraints],
        }
        if self.algorithm == "evolution":
            signature["settings"] = asdict(self.effective_settings())
        return signature


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        best: the best evaluation.
        evaluations: all of them, in order.
        replayed: how many of them came from the log of an earlier run.
        repaired: how many draws only a repair brought within the limits.
        exhausted: whether it ended early because nothing new within the limits was found.
    """

    best: Evaluation
    evaluations: Sequence[Evaluation]
    replayed: int
    repaired: int
    exhausted: bool


def run_search(
    plan: Plan, output: str | Path, progress: Callable[[Evaluation, bool], None] | None = None
) -> Result:
    """Runs a search, or continues one, and writes its results to the folder `output`.

    Args:
        plan: what to do.
        output: folder of the log and the results.
        progress: called after each evaluation with it and with whether it came from the log.

    Raises:
        UserError: limits that cannot be met, an unwritable folder, or one that holds another search.
    """
    if plan.budget < 1:
        raise UserError(f"--budget is {plan.budget}, allowed: 1 or more")
    check_reachable(plan.constraints, plan.space, plan.costs)
    objective = OBJECTIVES[plan.objective]

    def violation(architecture: Architecture) -> float:
        if not plan.constraints:
            return 0.0
        costs = plan.costs(architecture)
        return sum(constraint.violation(costs) for constraint in plan.constraints)

    with EvaluationLog(Path(output) / "evaluations.jsonl", plan.signature(), plan.about) as log:
        replayed = min(len(log.rows), plan.budget)
        archive = Archive(plan.evaluate, plan.costs, log, plan.budget, progress)
        problem = Problem(
            plan.space,
            lambda architecture, origin: objective.fitness(archive.evaluate(architecture, origin)),
            violation,
            archive.__contains__,
            # A string seeds through SHA-512: near seeds give unrelated draws, in every process.
            random.Random(f"search {plan.algorithm}, seed {plan.seed}"),
        )
        exhausted = False
        try:
            ALGORITHMS[plan.algorithm](problem, plan.effective_settings())
        except BudgetSpent:
            pass
        except NothingNew:
            exhausted = True
        if not archive.evaluations:
            limits = ", ".join(map(str, plan.constraints))
            raise UserError(
                f"no architecture of search space {plan.space.name!r} within the limits {limits} was found: "
                f"nearest is {_nearest(plan, violation)}"
            )
        best = min(archive.evaluations, key=lambda e: (objective.fitness(e), e.index))
        write_results(Path(output), archive.evaluations, best, plan.signature())
    return Result(best, archive.evaluations, replayed, problem.proposals.repaired, exhausted)


def _nearest(plan: Plan, violation: Callable[[Architecture], float]) -> str:
    """Describes the architecture that misses the limits least among the ends and some random ones."""
    rng = random.Random("nearest")
    candidates = [plan.space.smallest(), plan.space.largest()]
    candidates += [plan.space.sample(rng) for _ in range(1000)]
    nearest = min(candidates, key=violation)
    costs = plan.costs(nearest)
    names = dict.fromkeys(constraint.name for constraint in plan.constraints)
    values = " and ".join(f"{name} {costs[name]}" for name in names)
    return f"architecture {nearest.digest()} with {values}"
