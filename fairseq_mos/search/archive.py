"""Every architecture that a search has evaluated: cache, budget and log in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.search.log import EvaluationLog


class BudgetSpent(Exception):
    """The search has made as many evaluations as it may: it ends here."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluated architecture.

    Attributes:
        index: its place in the order of evaluation, from 0.
        architecture: the architecture.
        origin: largest, smallest, random, mutation or crossover.
        values: costs and measured values by name, such as `params`, `flops`, `loss`.
    """

    index: int
    architecture: Architecture
    origin: str
    values: Mapping[str, float]

    def to_dict(self) -> dict:
        """Returns the row of the log."""
        return {
            "index": self.index,
            "digest": self.architecture.digest(),
            "origin": self.origin,
            **self.values,
            "architecture": self.architecture.to_dict(),
        }


class Archive:
    """Evaluates each architecture once and keeps the result.

    A log of an earlier, interrupted run of the same search is replayed: the algorithm, being deterministic,
    asks for the same architectures in the same order and gets the logged values.

    Args:
        evaluate: architecture -> measured values.
        costs: architecture -> costs.
        log: where evaluations are written, and those of an interrupted run are read.
        budget: how many architectures may be evaluated.
        progress: called after each evaluation with it and with whether it came from the log.
    """

    def __init__(
        self,
        evaluate: Callable[[Architecture], Mapping[str, float]],
        costs: Callable[[Architecture], Mapping[str, float]],
        log: EvaluationLog,
        budget: int,
        progress: Callable[[Evaluation, bool], None] | None = None,
    ):
        self.evaluations: list[Evaluation] = []
        self.budget = budget
        self._evaluate, self._costs, self._log = evaluate, costs, log
        self._progress = progress
        self._known: dict[Architecture, Evaluation] = {}

    def __contains__(self, architecture: Architecture) -> bool:
        return architecture in self._known

    def get(self, architecture: Architecture) -> Evaluation | None:
        """Returns the evaluation of an architecture, if there is one."""
        return self._known.get(architecture)

    def evaluate(self, architecture: Architecture, origin: str) -> Evaluation:
        """Returns the evaluation of an architecture; only the first call for it costs anything.

        Raises:
            BudgetSpent: it is new, and the budget is used up.
            UserError: the log holds another architecture at this place.
        """
        known = self._known.get(architecture)
        if known is not None:
            return known
        index = len(self.evaluations)
        if index >= self.budget:
            raise BudgetSpent
        logged = index < len(self._log.rows)
        if logged:
            evaluation = self._replay(index, architecture, origin)
        else:
            values = {**self._costs(architecture), **self._evaluate(architecture)}
            evaluation = Evaluation(index, architecture, origin, values)
            self._log.append(evaluation.to_dict())
        self._known[architecture] = evaluation
        self.evaluations.append(evaluation)
        if self._progress is not None:
            self._progress(evaluation, logged)
        return evaluation

    def _replay(self, index: int, architecture: Architecture, origin: str) -> Evaluation:
        row = dict(self._log.rows[index])
        found = (row.pop("index", None), row.pop("digest", None), row.pop("origin", None))
        row.pop("architecture", None)
        if found != (index, architecture.digest(), origin):
            raise UserError(
                f"{self._log.path}: line {index + 2} holds architecture {found[1]} ({found[2]}), but this "
                f"search comes to {architecture.digest()} ({origin}) here: give another --output"
            )
        values = {name: math.nan if value is None else value for name, value in row.items()}
        return Evaluation(index, architecture, origin, values)
