"""Summaries over seeds, and what is chosen under limits: closed forms on given values."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce import choices, comparison  # noqa: E402
from reproduce.comparison import Comparison, gap_rows, summary_rows  # noqa: E402
from reproduce.costs import counts_of  # noqa: E402
from reproduce.finished import Finished  # noqa: E402
from reproduce.plan import draw, read_plan  # noqa: E402
from reproduce.results import write_results  # noqa: E402
from reproduce.units import jobs_of  # noqa: E402
from test_reproduce import TINY, small_pool, written  # noqa: E402, F401

SCRATCH = ([3.0, 2.0, 1.0], [3.2, 2.0, 1.0])
"""Losses of two seeds: noise of a fifteenth."""

GAPS = {("plain", 1): [0.5, 0.5, 0.5], ("neuron", 1): [0.1, 0.2, -1.35], ("neuron", 2): [0.3, 0.2, -1.15]}


@pytest.fixture
def measured(tmp_path):
    """A plan whose values are those above, BLEU 50 minus 10 times the loss."""
    plan = read_plan(written(tmp_path))
    drawn = draw(TINY, plan.architectures)
    jobs = jobs_of(plan, [one for _, one in drawn], "c")
    finished = Finished(tmp_path / "results")
    truth = np.mean(SCRATCH, 0)
    places = {one: place for place, (_, one) in enumerate(drawn)}
    for job in jobs:
        training = job.training
        if training.architecture:
            losses = [SCRATCH[training.seed - 1][places[training.architecture]]]
        else:
            losses = truth + GAPS[training.method, training.seed]
        digests = [one.digest() for one in job.architectures]
        rows = [{"architecture": d, "loss": loss, "bleu": 50 - 10 * loss} for d, loss in zip(digests, losses)]
        finished.write(job, {"rows": rows})
    return plan, drawn, jobs, finished


def test_two_from_scratch_seeds_rank_alike_as_far_as_noise_lets_them(measured):
    found = Comparison(*measured[1:])
    assert (found.ceiling("loss"), found.ceiling("bleu")) == (1, 1)
    one, other, last = (found.values["scratch", 2][name] for name in found.names)
    one["loss"], other["loss"] = other["loss"], one["loss"]
    assert found.ceiling("loss") == pytest.approx(1 / 3)
    del last["loss"]
    assert found.ceiling("loss") == -1


def summary(measured) -> dict:
    plan, drawn, jobs, finished = measured
    found = Comparison(drawn, jobs, finished)
    rows = gap_rows(plan, found, [counts_of(one) for _, one in drawn])
    return {(row["metric"], row["method"]): row for row in summary_rows(plan, found, rows)}


def test_means_over_seeds_with_intervals_and_noise(measured):
    rows = summary(measured)
    plain, neuron = rows["loss", "plain"], rows["loss", "neuron"]
    floor = pytest.approx(0.2 / 3)
    assert (plain["noise_floor"], rows["bleu", "plain"]["noise_floor"]) == (floor, pytest.approx(2 / 3))
    assert (plain["gap"], plain["gap_low"], plain["gap_high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert rows["bleu", "plain"]["gap"] == pytest.approx(-5)
    assert neuron["seeds"] == 2
    assert neuron["gap"] == pytest.approx(np.mean([GAPS["neuron", seed] for seed in (1, 2)]))
    assert neuron["absolute_gap"] == pytest.approx(3.3 / 6)
    # What is better than from scratch does not make up for what is worse.
    assert neuron["shortfall"] == pytest.approx(0.8 / 6) and plain["shortfall"] == pytest.approx(0.5)
    assert rows["bleu", "neuron"]["shortfall"] == pytest.approx(8 / 6)
    assert 0 <= neuron["shortfall_low"] < neuron["shortfall"] < neuron["shortfall_high"]
    assert neuron["absolute_gap_low"] < neuron["absolute_gap"] < neuron["absolute_gap_high"]
    # Both seeds take the last for the best, as it is.
    assert (neuron["winner_agreement"], neuron["regret"], plain["winner_agreement"]) == (1, 0, None)


def test_a_gap_is_set_against_the_first_methods(measured):
    rows = summary(measured)
    assert "difference" not in rows["loss", "plain"]
    row = rows["loss", "neuron"]
    assert row["baseline"] == "plain"
    assert row["difference"] == pytest.approx(3.3 / 6 - 0.5)
    assert row["difference_low"] < 0 < row["difference_high"]


@pytest.mark.parametrize(
    ("low", "high", "floor", "answer"),
    [(0.1, 0.2, 0.2, "yes"), (0.1, 0.2, 0.15, "open"), (0.1, 0.2, 0.05, "no"), (0.1, 0.2, np.nan, None)],
)
def test_a_gap_is_within_the_noise_where_its_interval_is(low, high, floor, answer):
    line = {"absolute_gap_low": low, "absolute_gap_high": high}
    assert comparison.within(line, floor) == answer


def test_ties_by_noise_are_left_out_where_it_is_not_known():
    values, strata = np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])
    known, unknown = (comparison.ranks(values, values, strata, floor) for floor in (1.5, np.nan))
    assert known["tau_noise_tied"] == known["tau"] == unknown["tau"] == 1
    # Within a stratum all differ by less than the noise.
    assert np.isnan(known["tau_strata_noise_tied"]) and known["tau_strata"] == 1
    assert "tau_noise_tied" not in unknown


def test_choices_under_limits(measured):
    plan, drawn, jobs, finished = measured
    found = Comparison(drawn, jobs, finished)
    counts = [{"flops": 10e6, "params": 3}, {"flops": 20e6, "params": 2}, {"flops": 30e6, "params": 1}]
    # The supernet of `plain` costs as much as two trainings.
    flops = {job.training.digest: 20.0 if job.training.method == "plain" else 10.0 for job in jobs}
    rows = choices.choice_rows(plan, found, counts, jobs, flops)
    own = {(row["metric"], row["method"], row["seed"], row["stratum"]): row for row in rows}
    # One that fits is no choice.
    assert {key[3] for key in own} == {1, 2}
    row = own["loss", "plain", 1, 2]
    assert (row["limit_mflops"], row["architectures"], row["trainings"]) == (30, 3, 2)
    # Losses 3.1, 2, 1: the best of two is the last in two of three draws.
    assert (row["supernet"], row["flops"], row["params"]) == pytest.approx((0, 0, 2.1))
    assert row["random_1"] == pytest.approx(6.1 / 3 - 1)
    assert row["random"] == pytest.approx(1 / 3)
    assert own["bleu", "plain", 1, 2]["random"] == pytest.approx(10 / 3)
    assert own["loss", "neuron", 1, 2]["random"] == own["loss", "neuron", 1, 2]["random_1"]
    (line,) = [line for line in choices.choice_summary(rows) if (line["metric"], line["method"]) == ("loss", "neuron")]
    assert (line["seeds"], line["limits"], line["trainings"]) == (2, 2, 1)
    assert line["params"] == pytest.approx((1.1 + 2.1) / 2)


def test_failed_attempts_stand_beside_their_method(measured, tmp_path):
    plan, drawn, jobs, finished = measured
    finished.write_failure(jobs[-1], 1, "it failed")
    told = {"tokens_per_update": 100.0, "train_seconds": 60, "updates_per_second": 1, "peak_bytes": 1}
    for job in jobs:
        finished.write(job.training, told | {"threads": 1, "starts": 1})
    write_results(tmp_path / "out", "plan", plan, drawn, jobs, finished)
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["method"]: row["failed_attempts"] for row in content["costs"]} == {
        "scratch": 0,
        "plain": 0,
        "neuron": 1,
    }
    assert "best of as many at random" in (tmp_path / "out" / "results.md").read_text()
    assert len((tmp_path / "out" / "choices.csv").read_text().splitlines()) == 1 + 2 * 3 * 2
