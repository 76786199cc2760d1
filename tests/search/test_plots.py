"""What the pictures of a search show."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fairseq_mos.search import plots
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.confirm import Confirmation
from fairseq_mos.search.constraints import Constraint
from tests.arch.samples import mini

pyplot = pytest.importorskip("matplotlib.pyplot")


def plan(objectives=("loss",), constraints=()):
    limits = [Constraint.parse(text) for text in constraints]
    return SimpleNamespace(objectives=objectives, constraints=limits, space=mini(), algorithm="random")


def result(evaluations, confirmations=(), times=()):
    return SimpleNamespace(evaluations=evaluations, best=evaluations[0], confirmations=confirmations, times=times)


def evaluation(index, raced=False, **values):
    return Evaluation(index, mini().largest(), "random", {"flops": 5, **values, **({"raced": 1.0} if raced else {})})


@pytest.fixture
def axes():
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def labelled(axes) -> dict[str, list[tuple[float, float]]]:
    found = {c.get_label(): [tuple(map(float, p)) for p in c.get_offsets()] for c in axes.collections}
    found.update({line.get_label(): [tuple(map(float, p)) for p in line.get_xydata()] for line in axes.lines})
    return found


@pytest.mark.parametrize(
    ("objectives", "constraints", "axis"),
    [
        (("loss",), (), "flops"),
        (("loss",), ("params<=1M",), "params"),
        (("loss", "chrf"), (), "chrf"),
        (("loss", "params_no_embed"), ("flops<=1G",), "params_no_embed"),
    ],
)
def test_the_other_axis(objectives, constraints, axis):
    assert plots.cost_axis(plan(objectives, constraints)) == axis


def test_two_qualities_are_drawn_against_each_other(axes):
    rows = [evaluation(0, loss=3.0, chrf=40.0), evaluation(1, loss=2.0, chrf=35.0), evaluation(2, loss=4.0, chrf=30.0)]
    plots._pareto(axes, plan(("loss", "chrf")), result(rows))
    assert "chrF" in axes.get_xlabel()
    assert sorted(labelled(axes)["Pareto front (2)"]) == [(35.0, 2.0), (40.0, 3.0)]


def test_a_refuted_winner_is_marked_and_not_on_the_front(axes):
    rows = [evaluation(0, loss=3.0, latency_ms=9.0), evaluation(1, loss=2.0, latency_ms=10.0)]
    refuted = Confirmation(rows[1], 10.0, 12.0, 11.0, 13.0, 12.0, 12.0, 12.0, False)
    kept = Confirmation(rows[0], 9.0, 9.5, 9.0, 10.0, 9.5, 12.0, 12.0, True)
    plots._pareto(axes, plan(constraints=("latency_ms<=10",)), result(rows, [refuted, kept]))
    shown = labelled(axes)
    assert shown["broke the limit when measured"] == [(10.0, 2.0)] and shown["Pareto front (1)"] == [(9.0, 3.0)]


def test_progress_goes_to_the_last_evaluation(axes):
    rows = [evaluation(0, loss=3.0), evaluation(1, loss=2.5), *(evaluation(i, True, loss=3.5) for i in range(2, 30))]
    plots._progress(axes, plan(), result(rows, times=[[1, 60.0], [30, 660.0]]))
    shown = labelled(axes)
    assert shown["best so far"] == [(1.0, 3.0), *((float(i), 2.5) for i in range(2, 31))]
    assert len(shown["stopped early, estimated"]) == 28 and len(shown["evaluated in full"]) == 2
    top = next(other for other in axes.figure.axes if other is not axes)
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["1", "3", "5", "7", "9", "11"]
