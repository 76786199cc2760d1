"""The time left that the progress bar shows."""

from __future__ import annotations

import pytest

from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.terminal import ProgressBar
from tests.arch.samples import mini


@pytest.fixture
def shown(monkeypatch):
    """Returns a function: seconds left that the bar shows after evaluations that took two seconds each."""
    now = [1000.0]
    monkeypatch.setattr("fairseq_mos.search.terminal.time.time", lambda: now[0])

    def run(evaluations: int, *arguments) -> str:
        with ProgressBar(*arguments) as progress:
            for index in range(evaluations):
                now[0] += 2.0
                progress(Evaluation(index, mini().largest(), "random", {"loss": 4.0 - index}), False)
            bar = progress._bar
            bar._time = lambda: now[0]
            bar.last_print_t, bar._ema_dn, bar._ema_dt = now[0], lambda *_: 0.0, lambda *_: 0.0
            return bar.format_dict["left"], bar.postfix

    return run


def test_by_the_evaluations(shown):
    assert shown(10, 40, "loss") == ("01:00", "best loss -5.0000")


def test_by_the_minutes_where_they_end_first(shown):
    # 3 minutes, of which earlier runs have used 130 seconds, and this one 20.
    assert shown(10, 3125, "loss", 3.0, 130.0)[0] == "00:30"
    assert shown(10, 15, "loss", 3.0, 130.0)[0] == "00:10"
