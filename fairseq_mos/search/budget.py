"""How long a search goes on, and the file that remembers how long it has."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.documents import read_json
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.paths import exists

SAVE_EVERY = 2.0
"""Seconds between two writes of the state file, at least: a kill loses no more than this of the clock."""

_TIMES = 2000


class Budget:
    """A number of evaluations, and optionally minutes, whichever is used up first.

    Minutes count while a search runs, over all its runs: they are kept in the state file.

    Args:
        evaluations: how many architectures may be evaluated.
        minutes: how long it may take; None: any time.
        path: the state file; None keeps none (on all ranks but the first).
        clock: the time in seconds.

    Attributes:
        times: how many evaluations there were after how many seconds, now and then.

    Raises:
        UserError: not positive, or a state file that is none.
    """

    def __init__(
        self,
        evaluations: int,
        minutes: float | None = None,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        check_budget(evaluations, minutes)
        self.evaluations, self.minutes = evaluations, minutes
        self._path, self._clock = path, clock
        self._before, self.times = read_state(path) if path is not None else (0.0, [])
        self._start = self._saved = clock()

    def seconds(self) -> float:
        """Returns how long the search has run, in all its runs."""
        return self._before + self._clock() - self._start

    def time_left(self) -> bool:
        """Whether the minutes are not used up."""
        return self.minutes is None or self.seconds() < 60 * self.minutes

    def note(self, evaluations: int) -> None:
        """Adds to :attr:`times`, if there are more evaluations than at the last time."""
        if not self.times or evaluations > self.times[-1][0]:
            self.times.append([evaluations, round(self.seconds(), 3)])
        if len(self.times) > _TIMES:
            self.times = self.times[1::2]

    def save(self, evaluations: int, finished: bool = False) -> None:
        """Writes the state file in one step, if the last time was a while ago or the search is finished."""
        if self._path is None or not (finished or self._clock() - self._saved >= SAVE_EVERY):
            return
        self._saved = self._clock()
        self.note(evaluations)
        seconds = round(self.seconds(), 3)
        state = {"evaluations": evaluations, "seconds": seconds, "finished": finished, "times": self.times}
        with atomic_write(self._path) as stream:
            json.dump(state, stream)
            stream.write("\n")


def check_budget(evaluations: int, minutes: float | None) -> None:
    """Checks the numbers before anything is loaded.

    Raises:
        UserError: not positive.
    """
    if evaluations < 1:
        raise UserError(f"--budget is {evaluations}, allowed: 1 or more evaluations")
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise UserError(f"--minutes is {minutes}, allowed: a number above 0")


def read_state(path: Path) -> tuple[float, list[list[float]]]:
    """Returns how many seconds a search has run, and :attr:`Budget.times`, from its state file.

    Raises:
        UserError: it is damaged.
    """
    if not exists(path):
        return 0.0, []
    remedy = "remove it (the search's clock restarts)"
    state = read_json(path, "state of a search", _State, remedy)
    for _, at in [(0, state.seconds), *state.times]:
        if at < 0:
            raise UserError(f"{path}: {at} seconds, expected 0 or more; {remedy}")
    return state.seconds, [list(time) for time in state.times]


@dataclass
class _State:
    seconds: float
    times: list[tuple[int, float]]
