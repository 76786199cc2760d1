"""Measuring winners: the first that keeps the limit, the file of measurements, and giving up."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.confirm import check_confirmed, confirm
from fairseq_mos.search.constraints import Constraint
from tests.arch.samples import mini

LIMITS = [Constraint.parse("latency_ms<=10")]


@pytest.fixture
def ranked():
    rng = random.Random(0)
    archs = list(dict.fromkeys(mini().sample(rng) for _ in range(12)))
    return [Evaluation(i, arch, "random", {"latency_ms": 9.0, "loss": float(i)}) for i, arch in enumerate(archs)]


def meter(ranked, milliseconds):
    asked = []

    def measure(arch):
        asked.append(arch)
        place = [e.architecture for e in ranked].index(arch)
        return {"latency_ms": milliseconds[place], "low_ms": 0.9 * milliseconds[place], "high_ms": 11.5}

    return measure, asked


def run(evaluations, measure, path, limits=LIMITS, complete=None, **options):
    return confirm(evaluations, lambda e: (e.values["loss"], e.index), limits, measure, complete, path, **options)


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


def test_a_slow_moment_of_the_machine_refutes_nobody(ranked, tmp_path):
    times = iter([14.0, 11.0, 9.5, 99.0])

    def measure(arch):
        milliseconds = next(times)
        return {"latency_ms": milliseconds, "low_ms": milliseconds - 1, "high_ms": milliseconds + 1}

    (found,) = run(ranked, measure, tmp_path / "measured.jsonl")
    assert found.holds and (found.measured, found.low, found.high) == (9.5, 8.5, 10.5)
    assert next(times) == 99.0


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
        check_confirmed(found, LIMITS)


def test_a_damaged_file_is_named(ranked, tmp_path):
    (tmp_path / "measured.jsonl").write_text('{"digest": "a", "latency_ms": 1}\n[]\n')
    with pytest.raises(UserError, match="measured.jsonl is damaged"):
        run(ranked, lambda arch: {}, tmp_path / "measured.jsonl")
