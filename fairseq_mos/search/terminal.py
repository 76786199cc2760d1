"""What a running search shows on the terminal."""

from __future__ import annotations

import math
import time
from types import TracebackType

from tqdm import tqdm

from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.objectives import OBJECTIVES


class ProgressBar:
    """A bar with evaluations per second, the time left and the best value so far.

    It appears with the first evaluation, so that a search which is refused shows none. Evaluations that
    come from the log of an interrupted run do not count for the speed.

    Args:
        total: the budget.
        objective: name of the objective whose best value is shown.
    """

    def __init__(self, total: int, objective: str = "loss"):
        self._total = total
        self._objective = OBJECTIVES[objective]
        self._bar: tqdm | None = None
        self._best = math.inf
        self._start = time.time()

    def __call__(self, evaluation: Evaluation, replayed: bool) -> None:
        """Shows one more evaluation."""
        if self._bar is None:
            self._bar = tqdm(total=self._total, unit="eval", desc="search", dynamic_ncols=True, smoothing=0.1)
            self._bar.start_t = self._bar.last_print_t = self._start
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
