"""What the pictures of a search show."""

from __future__ import annotations

import pytest

from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.plots import Shown, cost_axis, draw_front, draw_progress
from tests.arch.samples import mini

pyplot = pytest.importorskip("matplotlib.pyplot")


def shown(rows, objectives=("loss",), limits=(), **others):
    return Shown(objectives, [Constraint.parse(text) for text in limits], rows, rows[0].values, **others)


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
    ("objectives", "limits", "axis"),
    [
        (("loss",), (), "flops"),
        (("loss",), ("params<=1M",), "params"),
        (("loss", "chrf"), (), "chrf"),
        (("loss", "params_no_embed"), ("flops<=1G",), "params_no_embed"),
        (("flops",), (), "latency_ms"),
        (("loss", "bleu"), ("latency_ms<=1",), "latency_ms"),
    ],
)
def test_the_other_axis(objectives, limits, axis):
    """Of a quantity that the winner has no value of, there is none."""
    values = {"loss": 1.0, "chrf": 2.0, "params": 3, "params_no_embed": 4, "latency_ms": 5.0}
    assert cost_axis(shown([evaluation(0, **values)], objectives, limits)) == axis


def test_no_axis_is_known():
    assert cost_axis(Shown(("params",), (), (), {"params": 1})) is None


def test_two_qualities_are_drawn_against_each_other(axes):
    rows = [evaluation(0, loss=3.0, chrf=40.0), evaluation(1, loss=2.0, chrf=35.0), evaluation(2, loss=4.0, chrf=30.0)]
    draw_front(axes, shown(rows, ("loss", "chrf")))
    assert "chrF" in axes.get_xlabel()
    assert sorted(labelled(axes)["Pareto front (2)"]) == [(35.0, 2.0), (40.0, 3.0)]


def test_a_refuted_winner_is_marked_and_not_on_the_front(axes):
    rows = [evaluation(0, loss=3.0, latency_ms=9.0), evaluation(1, loss=2.0, latency_ms=10.0)]
    draw_front(axes, shown(rows, limits=("latency_ms<=10",), refuted={1}, confirmed=(9.5, 9.0, 10.0)))
    found = labelled(axes)
    assert found["broke the limit when measured"] == [(10.0, 2.0)] and found["Pareto front (1)"] == [(9.0, 3.0)]
    assert axes.get_xlabel() == "latency (ms)" and "winner, measured (quartiles)" in axes.get_legend_handles_labels()[1]


def test_progress_goes_to_the_last_evaluation(axes):
    rows = [evaluation(0, loss=3.0), evaluation(1, loss=2.5), *(evaluation(i, True, loss=3.5) for i in range(2, 30))]
    draw_progress(axes, shown(rows, times=[[1, 60.0], [30, 660.0]]))
    found = labelled(axes)
    assert found["best so far"] == [(1.0, 3.0), *((float(i), 2.5) for i in range(2, 31))]
    assert len(found["stopped early, estimated"]) == 28 and len(found["evaluated in full"]) == 2
    top = next(other for other in axes.figure.axes if other is not axes)
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["1", "3", "5", "7", "9", "11"]


def test_what_a_file_does_not_know_is_left_out(axes):
    """A log of another program may lack values of some evaluations."""
    rows = [evaluation(0, loss=3.0), evaluation(1), evaluation(2, loss=2.0)]
    draw_front(axes, shown(rows))
    draw_progress(axes, shown(rows))
    assert labelled(axes)["evaluated in full (2)"] == [(5.0, 3.0), (5.0, 2.0)]
    assert labelled(axes)["best so far"] == [(1.0, 3.0), (3.0, 2.0)]
