"""Searching on where measured winners break a limit that their predictions kept."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from fairseq_mos.arch import Architecture
from fairseq_mos.arch.reading import compact_json
from fairseq_mos.journal import Journal
from fairseq_mos.search.archive import Archive
from fairseq_mos.search.budget import Budget
from fairseq_mos.search.candidates import Problem
from fairseq_mos.search.evaluation import Evaluation, Values
from fairseq_mos.search.plan import Plan
from fairseq_mos.search.ranks import Ranks
from fairseq_mos.search.stepping import drive, ranked

SHARE = 4
"""A search may evaluate one for so many of its budget under corrected limits."""

TIMES = 2
"""How often it does, at most."""


class SecondSearch:
    """Evolves what was found under limits that are as much tighter as predictions were too low.

    Without it, the next best of what was evaluated is taken, which may be far from the limit: a search crowds where
    its predictions say that the limit is. It is the first process's alone, in a log of its own, whose name says what
    it depends on: the log of the search is replayed without it when that goes on with a larger budget.

    Args:
        plan: of the search.
        archive: what it has evaluated, to which the new ones are added.
        folder: of the search.
        say: is told what happens.
    """

    def __init__(self, plan: Plan, archive: Archive, folder: Path, say: Callable[[str], None] | None = None):
        self._plan, self._archive, self._folder, self._say = plan, archive, folder, say
        self._left = TIMES

    def __call__(self, correction: float) -> Sequence[Evaluation]:
        """Returns what was evaluated besides.

        Args:
            correction: the most that was measured over what was predicted.

        Raises:
            UserError: its log is damaged or cannot be written.
        """
        budget = self._plan.budget // SHARE
        # An exhaustive search has seen everything, and what has only so many minutes should end.
        if not (self._left and budget) or self._plan.algorithm == "exhaustive" or self._plan.minutes is not None:
            return []
        self._left -= 1
        plan = self._corrected(math.ceil(1000 * correction) / 1000)
        if self._say is not None:
            limits = " and ".join(map(str, plan.constraints))
            self._say(f"searching on, {budget} evaluations under {limits}, as predictions are too low")
        known = {evaluation.architecture: evaluation for evaluation in self._archive.evaluations}

        def evaluate(architecture: Architecture) -> Values:
            before = known.get(architecture)
            return before.values if before is not None and before.full else plan.evaluate(architecture)

        # What was evaluated before takes no time.
        begun = {plan.space.largest(), plan.space.smallest(), *plan.given} & known.keys()
        free = sum(not plan.violation(architecture) for architecture in begun)
        name = hashlib.sha256(compact_json(plan.signature()).encode()).hexdigest()[:8]
        rng = random.Random(f"search again, seed {plan.seed}")
        problem = Problem(plan.space, plan.violation, rng, given=plan.given, known=known)
        with (
            Journal(self._folder / f"corrected-{name}.jsonl", plan.signature()) as log,
            tqdm(total=budget, unit="eval", desc="searching on", leave=False, disable=self._say is None) as bar,
        ):
            found = Archive(
                plan.costs,
                log,
                Budget(free + budget),
                lambda evaluation, logged: bar.update(evaluation.architecture not in known),
                Ranks(),
                lambda: Journal(self._folder / "completed.jsonl", self._plan.signature()),
                plan.objectives,
            )
            drive(replace(plan, evaluate=evaluate), problem, found)
        new = [evaluation for evaluation in found.evaluations if evaluation.architecture not in known]
        first = len(self._archive.evaluations)
        self._archive.evaluations += [replace(evaluation, index=first + i) for i, evaluation in enumerate(new)]
        return self._archive.evaluations[first:]

    def _corrected(self, factor: float) -> Plan:
        """Returns the plan of an evolution under limits that are so much tighter, from the best that keep them."""
        plan, name = self._plan, self._plan.predicted.name
        limits = [
            replace(limit, limit=float(f"{limit.limit / factor:.6g}")) if limit.name == name and limit.upper else limit
            for limit in plan.constraints
        ]
        plan = replace(plan, constraints=limits, algorithm="evolution", fitted_to=plan.fitted_to or plan.budget)
        settings = plan.effective_settings()
        good = [e.architecture for e in ranked(plan, self._archive) if not plan.violation(e.architecture)]
        # No new random ones: children of these come at once.
        settings = replace(settings, population=settings.parents)
        return replace(plan, given=good[: settings.parents], settings=settings)
