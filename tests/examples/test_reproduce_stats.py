"""Statistics of comparisons: closed forms, and scipy's on what both compute."""

from __future__ import annotations

import math
import random
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce import stats  # noqa: E402


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlations_are_scipys(seed):
    rng = random.Random(seed)
    x, y = ([rng.randint(0, 6) for _ in range(15)] for _ in range(2))
    assert stats.kendall(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
    assert stats.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_tau_by_hand():
    assert stats.kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert stats.kendall([1, 2, 3], [3, 2, 1]) == -1
    assert math.isnan(stats.kendall([1, 1, 1], [1, 2, 3]))
    # One tied pair of three in y: 2 / sqrt(3 * 2).
    assert stats.kendall([1, 2, 3], [1, 2, 2]) == pytest.approx(2 / math.sqrt(6))


def test_size_inflates_a_global_tau_and_not_that_within_strata():
    x, y, strata = [1, 2, 11, 12], [2, 1, 12, 11], [0, 0, 1, 1]
    assert stats.kendall(x, y) == pytest.approx(2 / 6)
    assert stats.kendall(x, y, strata) == -1


def test_differences_below_the_floor_are_ties():
    x, y = [1.0, 1.01, 2.0], [1.01, 1.0, 2.0]
    assert stats.kendall(x, y) == pytest.approx(1 / 3)
    assert stats.kendall(x, y, floor=0.1) == 1


def test_noise_floor_is_the_mean_difference_of_two_seeds():
    assert stats.noise_floor([[1, 2], [1.5, 1]]) == pytest.approx(0.75)
    # Three pairs of seeds on one architecture.
    assert stats.noise_floor([[0], [1], [3]]) == pytest.approx(2)
    assert stats.noise_floor([[1, math.nan], [2, 5]]) == pytest.approx(1)
    assert math.isnan(stats.noise_floor([[1, 2]]))


def test_regret_and_agreement():
    assert stats.regret([3, 1, 2], [5, 6, 4]) == 2
    assert stats.regret([3, 2, 1], [5, 6, 4]) == 0
    assert stats.agreement(["a", "a", "b"]) == pytest.approx(1 / 3)
    assert math.isnan(stats.agreement(["a"]))


def test_bootstrap_interval_of_a_mean_has_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    low, high = stats.interval(400, lambda at: values[at].mean(-1))
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert all(map(math.isnan, stats.interval(2, lambda at: at.mean(-1))))


def test_of_one_seed_an_interval_is_over_architectures_alone():
    values = np.random.default_rng(0).normal(size=30)
    one = lambda at: values[at].mean(-1)  # noqa: E731
    assert stats.mean_interval(30, [one]) == stats.interval(30, one)
    # The same twice: nothing comes from the seeds.
    assert stats.mean_interval(30, [one, one]) == pytest.approx(stats.interval(30, one))


def test_seeds_that_differ_widen_the_interval_of_their_mean():
    flat = [lambda at, level=level: np.full(len(at), level) for level in (0.0, 1.0)]
    # Both seeds are the one or the other in a quarter of the resamplings each.
    assert stats.mean_interval(10, flat) == (0.0, 1.0)
    assert stats.mean_interval(10, flat[:1]) == (0.0, 0.0)


def test_a_difference_is_of_the_same_architectures():
    values = np.random.default_rng(0).normal(size=(2, 30))
    one, other = (lambda at, own=own: own[at].mean(-1) for own in (values[0], values[0] - 0.25))
    # However different architectures are, the two differ by the same everywhere.
    assert stats.mean_interval(30, [one], [other]) == pytest.approx((0.25, 0.25))
    assert all(map(math.isnan, stats.mean_interval(2, [one], [other])))


def test_a_statistic_without_a_value_leaves_the_other_seeds():
    some, none = lambda at: np.ones(len(at)), lambda at: np.full(len(at), np.nan)  # noqa: E731
    assert stats.mean_interval(5, [some, none]) == (1.0, 1.0)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 9])
def test_expected_best_of_some_is_the_mean_over_all_draws(number):
    values = [5.0, 1.0, 4.0, 2.5]
    draws = list(combinations(values, min(number, 4)))
    assert stats.best_of(values, number) == pytest.approx(sum(map(min, draws)) / len(draws))


def test_interval_of_a_perfect_ranking_is_one_point():
    assert stats.kendall_interval(range(10), range(10)) == pytest.approx((1.0, 1.0))
    assert stats.spearman_interval(range(10), range(10)) == pytest.approx((1.0, 1.0))


def test_a_resampling_is_computed_as_its_architectures_alone(monkeypatch):
    monkeypatch.setattr(stats, "RESAMPLES", 1)
    x, y = np.random.default_rng(0).normal(size=(2, 8))
    at = np.random.default_rng(1).integers(0, 8, (1, 8))[0]
    assert stats.kendall_interval(x, y)[0] == pytest.approx(stats.kendall(x[at], y[at]))
    assert stats.spearman_interval(x, y)[0] == pytest.approx(stats.spearman(x[at], y[at]))
