"""Measuring winners: the first that keeps the limit, the file of measurements, and giving up."""

from __future__ import annotations

import random

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.confirm import confirm
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


def test_a_winner_that_breaks_the_limit_is_replaced_by_the_next_best(ranked, tmp_path):
    measure, asked = meter(ranked, [12.0, 10.5, 10.0, 5.0])
    found = confirm(ranked, LIMITS, measure, tmp_path / "measured.jsonl")
    assert [c.evaluation.index for c in found] == [0, 1, 2] and [c.holds for c in found] == [False, False, True]
    assert [c.measured for c in found] == [12.0, 10.5, 10.0]
    assert found[0].error == pytest.approx(-0.25) and found[2].low == pytest.approx(9.0)
    assert len(asked) == 3
    # Run again, it measures nothing anew.
    assert confirm(ranked, LIMITS, measure, tmp_path / "measured.jsonl") == found
    assert len(asked) == 3


def test_it_gives_up_and_names_the_fastest(ranked, tmp_path):
    measure, asked = meter(ranked, [12.0, 11.0, 14.0, 5.0])
    fastest = ranked[1].architecture.digest()
    with pytest.raises(
        UserError, match=f"none of the 3 best architectures keeps latency_ms<=10 .*{fastest} with 11 ms"
    ):
        confirm(ranked, LIMITS, measure, tmp_path / "measured.jsonl", tries=3)
    assert len(asked) == 3


def test_a_damaged_file_is_named(ranked, tmp_path):
    (tmp_path / "measured.jsonl").write_text('{"digest": "a", "latency_ms": 1}\n[]\n')
    with pytest.raises(UserError, match="measured.jsonl is damaged"):
        confirm(ranked, LIMITS, lambda arch: {}, tmp_path / "measured.jsonl")
