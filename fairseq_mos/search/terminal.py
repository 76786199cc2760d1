"""What a running search shows on the terminal."""

from __future__ import annotations

import math
import time
from types import TracebackType

from tqdm import tqdm

from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.quantities import QUANTITIES


class _Bar(tqdm):
    """A bar whose time left is that of the budget which is used up first."""

    deadline: float | None = None

    @property
    def format_dict(self):
        values = super().format_dict
        rate = values["rate"] or (self.n - self.initial) / values["elapsed"] if values["elapsed"] else None
        left = (self.total - self.n) / rate if rate else math.inf
        if self.deadline is not None:
            left = min(left, max(0.0, self.deadline - time.time()))
        return {**values, "left": self.format_interval(left) if math.isfinite(left) else "?"}


class ProgressBar:
    """A bar with evaluations per second, the time left and the best value so far.

    It appears with the first evaluation, so that a search which is refused shows none. Evaluations that
    come from the log of an interrupted run do not count for the speed.

    Args:
        total: the budget in evaluations.
        objective: name of the objective whose best value is shown.
        minutes: the budget in minutes, or None.
        spent: seconds of it that earlier runs have used.
    """

    def __init__(self, total: int, objective: str = "loss", minutes: float | None = None, spent: float = 0.0):
        self._total = total
        self._objective = QUANTITIES[objective]
        self._bar: _Bar | None = None
        self._best = math.inf
        self._start = time.time()
        self._left = None if minutes is None else 60 * minutes - spent

    def __call__(self, evaluation: Evaluation, replayed: bool) -> None:
        """Shows one more evaluation."""
        if self._bar is None:
            form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]"
            self._bar = _Bar(
                total=self._total, unit="eval", desc="search", dynamic_ncols=True, smoothing=0.1, bar_format=form
            )
            self._bar.start_t = self._bar.last_print_t = self._start
            self._bar.deadline = None if self._left is None else self._start + self._left
        fitness = self._objective.fitness(evaluation)
        if evaluation.full and fitness < self._best:
            self._best = fitness
            name = self._objective.name
            self._bar.set_postfix_str(f"best {name} {evaluation.values[name]:.4f}", refresh=False)
        if replayed:
            self._bar.initial += 1
            self._bar.n += 1
        else:
            self._bar.update()

    def __enter__(self) -> ProgressBar:
        self._start = time.time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
