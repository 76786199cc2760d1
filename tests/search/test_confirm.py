"""Measuring winners: the first that keeps the limit, the file of measurements, and giving up."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from fairseq_mos.cost.comparison import Comparison
from fairseq_mos.errors import UserError
from fairseq_mos.search.confirm import check_confirmed, confirm, fields
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.quantities import QUANTITIES, Quantity
from tests.arch.samples import mini

LATENCY = QUANTITIES["latency_ms"]
LIMITS = [Constraint.parse("latency_ms<=10")]


@pytest.fixture
def ranked():
    rng = random.Random(0)
    archs = list(dict.fromkeys(mini().sample(rng) for _ in range(12)))
    return [Evaluation(i, arch, "random", {"latency_ms": 9.0, "loss": float(i)}) for i, arch in enumerate(archs)]


def values(latency, **others):
    same = dict.fromkeys(("latency_ms", "low_ms", "high_ms", "clocked_ms"), latency)
    return {**same, "reference_ms": 12.0, "recorded_ms": 12.0, **others}


def meter(ranked, milliseconds):
    asked = []

    def measure(arch):
        asked.append(arch)
        place = [e.architecture for e in ranked].index(arch)
        return values(milliseconds[place], low_ms=0.9 * milliseconds[place], high_ms=11.5)

    return measure, asked


def run(evaluations, measure, path, limits=LIMITS, complete=None, **options):
    return confirm(
        evaluations, lambda e: (e.values["loss"], e.index), limits, LATENCY, measure, complete, path, **options
    )


def test_a_winner_that_breaks_the_limit_is_replaced_by_the_next_best(ranked, tmp_path):
    measure, asked = meter(ranked, [11.0, 10.5, 10.0, 5.0])
    for evaluation, predicted in zip(ranked, (9.0, 8.9, 8.0, 3.0)):
        evaluation.values["latency_ms"] = predicted
    found = run(ranked, measure, tmp_path / "measured.jsonl", tries=4)
    assert [c.holds for c in found] == [False, True] and [c.measured for c in found] == [11.0, 10.0]
    # The first was 11/9 slower than predicted: the second should break the limit too, and is passed over.
    assert [c.evaluation.index for c in found] == [0, 2]
    assert found[0].error == pytest.approx(9 / 11 - 1) and found[1].low == pytest.approx(9.0)
    # The one that broke the limit did so three times.
    assert len(asked) == 4
    # Run again, it measures nothing anew.
    assert run(ranked, measure, tmp_path / "measured.jsonl") == found
    assert len(asked) == 4


def test_predictions_are_corrected_by_the_one_that_was_furthest_from_the_truth(ranked, tmp_path):
    predicted = [9.0, 8.3, 8.2, 7.9, *[1.0] * 8]
    for evaluation, milliseconds in zip(ranked, predicted):
        evaluation.values["latency_ms"] = milliseconds
    measure, _ = meter(ranked, [10.8, 10.2, 9.9, 9.7, *[1.0] * 8])
    said = []
    found = run(ranked, measure, tmp_path / "measured.jsonl", say=said.append)
    # By 10.8 / 9, 8.3 should be 9.96; then by 10.2 / 8.3, 8.2 would be 10.1, and 7.9 is 9.7.
    assert [c.evaluation.index for c in found] == [0, 1, 3]
    digests = [c.evaluation.architecture.digest() for c in found]
    assert said == [
        f"measuring the latency of the winner, {digests[0]} (predicted: 9 ms)",
        "measured 10.8 ms, where latency_ms<=10 was asked for: on to the next one",
        f"measuring the latency of the winner, {digests[1]} (predicted: 8.3 ms)",
        "measured 10.2 ms, where latency_ms<=10 was asked for: on to the next one",
        f"measuring the latency of the winner, {digests[2]} (predicted: 7.9 ms)",
    ]


class Machine:
    """Times models of known latency in turn with a reference of 12 ms, at a speed that may change with each run.

    Args:
        truth: architecture -> milliseconds when the data set was measured.
        slowness: run -> factor.
    """

    def __init__(self, truth, slowness):
        self.truth, self.slowness, self.runs, self.measured = truth, slowness, 0, []

    def __call__(self, arch):
        self.measured.append(self.truth[arch])
        model, reference = [], []
        for _ in range(20):
            for seconds, milliseconds in ((model, self.truth[arch]), (reference, 12.0)):
                seconds.append(milliseconds / 1e3 * self.slowness(self.runs))
            self.runs += 1
        return Comparison.of_runs(model, reference).values(12.0)


@pytest.mark.parametrize(
    "slowness",
    [
        lambda run: 1.0,
        lambda run: 1.18,  # slower than when the data set was measured
        lambda run: 0.7,  # or faster
        lambda run: 1.0 if run < 8 else 1.4,  # from some moment on
        lambda run: 3.0 if run % 7 < 3 else 1.0,  # other work comes and goes
    ],
)
def test_a_machine_of_another_speed_changes_neither_winner_nor_verdicts(ranked, tmp_path, slowness):
    """The first breaks the limit of 10 ms, the second keeps it; both are predicted as 9 ms."""
    truth = {e.architecture: milliseconds for e, milliseconds in zip(ranked, [10.3, 9.9, *[5.0] * 10])}
    ranked[1].values["latency_ms"] = 8.6
    machine = Machine(truth, slowness)
    found = run(ranked, machine, tmp_path / "measured.jsonl")
    assert [(c.evaluation.index, c.holds) for c in found] == [(0, False), (1, True)]
    assert [c.measured for c in found] == pytest.approx([10.3, 9.9]) and found[0].recorded == 12.0
    # What is printed beside it: both as the clock had them.
    assert [c.clocked / c.reference for c in found] == pytest.approx([10.3 / 12, 9.9 / 12])
    assert machine.measured == [10.3] * 3 + [9.9]


def test_of_three_measurements_the_middle_one_counts(ranked, tmp_path):
    """Neither one disturbed measurement refutes, nor one lucky one acquits."""
    for name, times, holds in (("a", [14.0, 9.5, 9.0], True), ("b", [10.4, 10.2, 9.0], False), ("c", [9.9], True)):
        times = iter(times)
        (found,) = run(ranked, lambda arch, times=times: values(next(times)), tmp_path / name, tries=1)
        assert found.holds == holds and found.measured == {"a": 9.5, "b": 10.2, "c": 9.9}[name]
        assert next(times, None) is None


def test_where_none_should_hold_the_fastest_prediction_is_next(ranked, tmp_path):
    measure, _ = meter(ranked, [12.0, 11.0, 14.0, 11.5, 9.0, *[20.0] * 7])
    ranked[4].values["latency_ms"] = 8.5
    found = run(ranked, measure, tmp_path / "measured.jsonl")
    assert [c.evaluation.index for c in found] == [0, 4] and found[-1].holds


def test_what_racing_has_stopped_is_completed_before_it_is_measured(ranked, tmp_path):
    raced = [replace(e, values={**e.values, "raced": 1.0}) if e.index else e for e in ranked]
    completed = []

    def complete(evaluation):
        completed.append(evaluation.index)
        # In truth the second is worse than estimated, by so much that the third comes first.
        values = {**evaluation.values, "raced": 0.0, "loss": evaluation.values["loss"] + 1.5 * (evaluation.index == 1)}
        return replace(evaluation, values=values)

    measure, _ = meter(ranked, [10.1, 9.0, 9.5, *[20.0] * 9])
    for evaluation in raced[1:]:
        evaluation.values["latency_ms"] = 8.0
    found = run(raced, measure, tmp_path / "measured.jsonl", complete=complete)
    assert completed == [1, 2]
    assert [c.evaluation.index for c in found] == [0, 2] and found[-1].holds and found[-1].evaluation.full


def test_it_gives_up_and_names_the_fastest(ranked, tmp_path):
    measure, asked = meter(ranked, [12.0, 11.0, 14.0, 5.0])
    fastest = ranked[1].architecture.digest()
    found = run(ranked, measure, tmp_path / "measured.jsonl", tries=3)
    assert len(asked) == 3 * 3 and not any(c.holds for c in found)
    with pytest.raises(
        UserError, match=f"none of the 3 best architectures keeps latency_ms<=10 .*{fastest} with 11 ms .* raise the"
    ):
        check_confirmed(found, LIMITS, LATENCY)


@pytest.mark.parametrize("change", [-1.0, 0, float("nan"), float("inf"), 1e200, None, "9", True])
def test_a_latency_that_is_none_is_refused(ranked, tmp_path, change):
    """A latency of -1 ms would keep every limit."""
    path = tmp_path / "measured.jsonl"
    path.write_text(json.dumps({"digest": "a", **values(9.0)}) + "\n")
    assert run(ranked, lambda arch: values(8.0), path)[0].holds
    path.write_text(json.dumps({"digest": "a", **values(9.0), "latency_ms": change}) + "\n")
    wrong = r"(latency_ms is .* expected 1e-06 to 1e\+09 mill|is no number)"
    with pytest.raises(UserError, match=f"measured.jsonl.* is damaged.*{wrong}"):
        run(ranked, lambda arch: {}, path)


def test_a_damaged_file_is_named(ranked, tmp_path):
    path = tmp_path / "measured.jsonl"
    for content in ("[]\n", "{\n", '{"digest": "a"}\n', json.dumps(values(9.0)) + "\n"):
        path.write_text(content)
        with pytest.raises(UserError, match="measured.jsonl.* is damaged"):
            run(ranked, lambda arch: {}, path)


def test_latencies_of_an_earlier_version_are_refused(ranked, tmp_path):
    path = tmp_path / "measured.jsonl"
    path.write_text('{"digest": "a", "latency_ms": 9.0, "low_ms": 8.0, "high_ms": 10.0}\n')
    with pytest.raises(UserError, match="compared them with no reference: remove it to measure again"):
        run(ranked, lambda arch: {}, path)


def test_whatever_is_predicted_and_can_be_measured(ranked, tmp_path):
    """Another quantity has fields of its own unit, and its own words."""
    memory = Quantity("memory_mb", "memory", "predictor", "mb")
    limits = [Constraint("memory_mb", "<=", 10.0)]
    for evaluation in ranked:
        evaluation.values["memory_mb"] = 9.0
    assert fields(memory) == ("memory_mb", "low_mb", "high_mb", "clocked_mb", "reference_mb", "recorded_mb")

    def search(measured, path):
        def measure(arch):
            return dict.fromkeys(fields(memory), next(measured))

        return confirm(ranked, lambda e: e.index, limits, memory, measure, None, path, tries=2)

    found = search(iter([12.0, 12.0, 12.0, 8.0]), tmp_path / "a")
    assert [(c.predicted, c.measured, c.holds) for c in found] == [(9.0, 12.0, False), (9.0, 8.0, True)]
    assert search(iter(()), tmp_path / "a") == found
    found = search(iter([12.0] * 3 + [11.0] * 3), tmp_path / "b")
    with pytest.raises(UserError, match="the smallest is .* 11 mb .predicted 9 mb.; fit the memory predictor anew"):
        check_confirmed(found, limits, memory)
