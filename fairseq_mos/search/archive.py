"""Every architecture that a search has evaluated: cache, budget and log in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

from tqdm import tqdm

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.journal import Journal
from fairseq_mos.search.budget import Budget
from fairseq_mos.search.evaluation import Evaluation, Values
from fairseq_mos.search.quantities import QUANTITIES
from fairseq_mos.search.ranks import Ranks

Proposed = tuple[str, Architecture]
"""Origin and architecture."""


class BudgetSpent(Exception):
    """The search has used its budget up: it ends here."""


class Archive:
    """Evaluates each architecture once and keeps the result.

    A log of an earlier, interrupted run of the same search is replayed: the algorithm, being deterministic,
    asks for the same architectures in the same order and gets the logged values.

    Args:
        costs: architecture -> costs.
        log: where evaluations are written, and those of an interrupted run are read; None on all ranks but
            the first.
        budget: when to stop.
        progress: called after each evaluation with it and with whether it came from the log.
        ranks: the processes that share the work.
        open_completed: opens the log of :meth:`complete`; called by the first rank, when it is needed.
        objectives: what every evaluation has a value of.
    """

    def __init__(
        self,
        costs: Callable[[Architecture], Values],
        log: Journal | None,
        budget: Budget,
        progress: Callable[[Evaluation, bool], None] | None,
        ranks: Ranks,
        open_completed: Callable[[], Journal],
        objectives: Sequence[str] = (),
    ):
        self.evaluations: list[Evaluation] = []
        self.replayed = 0
        self._costs, self._log, self._budget = costs, log, budget
        self._progress, self._ranks = progress, ranks
        self._open_completed, self._objectives = open_completed, objectives
        self._rows: Sequence[Mapping] = ranks.broadcast(None if log is None else log.rows)

    def evaluate(
        self,
        proposed: Sequence[Proposed],
        measure: Callable[[Architecture], Values],
        expect: Callable[[Sequence[Architecture]], None] | None = None,
    ) -> list[Evaluation]:
        """Evaluates new architectures, on all ranks, and returns the results in order.

        Args:
            proposed: what to evaluate; none of it was evaluated before.
            measure: architecture -> measured values, the same on every rank.
            expect: is told before the first of them which ones this rank will measure, in their order.

        Raises:
            BudgetSpent: there is no budget left for all of them; those before the limit are kept.
            UserError: the log holds another architecture at this place.
        """
        done: list[Evaluation] = []
        rest = list(proposed)
        while rest:
            index = len(self.evaluations)
            logged = index < len(self._rows) and index < self._budget.evaluations
            # As many at a time as there are ranks, so that a kill loses little.
            size = 1 if logged else min(self._ranks.size, self._budget.evaluations - index)
            if size <= 0 or not (logged or self._ranks.broadcast(self._budget.time_left())):
                raise BudgetSpent
            group, rest = rest[:size], rest[size:]
            if logged:
                origin, architecture = group[0]
                evaluations = [self._replay(index, architecture, origin)]
                self.replayed += 1
            else:
                if expect is not None:
                    coming = [architecture for _, architecture in (*group, *rest)]
                    expect(coming[: self._budget.evaluations - index][self._ranks.rank :: self._ranks.size])
                    expect = None
                measured = self._ranks.share(measure, [architecture for _, architecture in group])
                evaluations = [
                    Evaluation(index + i, architecture, origin, {**self._costs(architecture), **values})
                    for i, ((origin, architecture), values) in enumerate(zip(group, measured))
                ]
            for evaluation in evaluations:
                if self._log is not None and not logged:
                    self._log.append(evaluation.to_dict())
                self.evaluations.append(evaluation)
                if self._progress is not None:
                    self._progress(evaluation, logged)
            self._budget.save(len(self.evaluations))
            done += evaluations
        return done

    def complete(
        self, wanted: Sequence[Evaluation], measure: Callable[[Architecture], Values], ranks: Ranks | None = None
    ) -> list[Evaluation]:
        """Measures on the full validation set what was stopped early, and returns it.

        This counts for no budget. It has a log of its own: the other one is what the search is replayed from.

        Args:
            wanted: some of :attr:`evaluations`; those that are full are returned as they are.
            measure: architecture -> measured values.
            ranks: the processes that share the work and call this; by default all of them.

        Raises:
            UserError: the log cannot be written.
        """
        ranks = ranks or self._ranks
        missing = [evaluation for evaluation in wanted if not evaluation.full]
        log = None
        with ranks.together():
            if ranks.is_main and missing:
                log = self._open_completed()
        with log or nullcontext():
            known = {row["digest"]: row for row in ranks.broadcast(None if log is None else log.rows) or ()}
            bar = tqdm(
                total=len(missing), unit="eval", desc="measuring in full", dynamic_ncols=True, leave=False,
                disable=self._progress is None or not missing,
            )  # fmt: skip
            for begin in range(0, len(missing), ranks.size):
                group = missing[begin : begin + ranks.size]
                new = [e for e in group if e.architecture.digest() not in known]
                for evaluation, values in zip(new, ranks.share(measure, [e.architecture for e in new])):
                    row = {"digest": evaluation.architecture.digest(), **values}
                    known[row["digest"]] = row
                    if log is not None:
                        log.append(row)
                for evaluation in group:
                    values = _numbers(known[evaluation.architecture.digest()])
                    del values["digest"]
                    self.evaluations[evaluation.index] = replace(
                        evaluation, values={**evaluation.values, **values, "raced": 0.0}
                    )
                bar.update(len(group))
            bar.close()
        return [self.evaluations[evaluation.index] for evaluation in wanted]

    def _replay(self, index: int, architecture: Architecture, origin: str) -> Evaluation:
        row = dict(self._rows[index])
        found = (row.pop("index", None), row.pop("digest", None), row.pop("origin", None))
        row.pop("architecture", None)
        where = "the log" if self._log is None else self._log.path
        if found != (index, architecture.digest(), origin):
            raise UserError(
                f"{where}: line {index + 2} holds architecture {found[1]} ({found[2]}), but this "
                f"search comes to {architecture.digest()} ({origin}) here: give another --output"
            )
        for name in self._objectives:
            if not isinstance(row.get(name, ""), (int, float, type(None))):
                raise UserError(f"{where}: line {index + 2} has no number for {name}: give another --output")
        try:
            for name in row.keys() & QUANTITIES.keys():
                if QUANTITIES[name].check is not None:
                    QUANTITIES[name].check(name, row[name])
        except ValueError as error:
            raise UserError(f"{where}: line {index + 2}: {error}: give another --output") from None
        return Evaluation(index, architecture, origin, _numbers(row))


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    """Returns a row's values; what JSON could not express is not a number."""
    return {name: math.nan if value is None else value for name, value in row.items()}
