"""When a candidate is stopped early, and what its loss is then taken for."""

from __future__ import annotations

import math
import random

import pytest

from fairseq_mos.search.racing import LEAST_BATCHES, Sums, clearly_worse, estimate, means


def losses(count, mean, seed, spread=0.0):
    """Batches of different difficulty; `spread` is the noise that two architectures do not share."""
    hard, own = random.Random(0), random.Random(seed)
    found = []
    for _ in range(count):
        size = hard.randint(50, 100)
        loss = size * (mean + hard.gauss(0, 1) + own.gauss(0, spread))
        found.append(Sums(loss, loss / 2, size, size))
    return found


def test_means_by_hand_and_in_any_order():
    sums = [Sums(2.0, 1.0, 2, 4), Sums(4.0, 2.0, 1, 2)]
    expected = {"loss": 2 / math.log(2), "nll_loss": 0.5 / math.log(2)}
    assert means(sums) == pytest.approx(expected)
    many = losses(100, 5.0, 1, 1.0)
    assert means(many) == means(many[::-1])


def test_a_constant_difference_shows_at_once_although_batches_differ():
    good, bad = losses(40, 5.0, 1), losses(40, 5.01, 1)
    assert not any(clearly_worse(bad[:n], good, 40) for n in range(1, 10))
    assert clearly_worse(bad[:10], good, 40)
    assert not any(clearly_worse(good[:n], bad, 40) for n in range(1, 41))


def test_never_with_few_batches_nor_after_the_last_nor_with_nan():
    good, bad = losses(LEAST_BATCHES, 5.0, 1), losses(LEAST_BATCHES, 9.0, 1)
    assert not any(clearly_worse(bad[:n], good, LEAST_BATCHES) for n in range(1, LEAST_BATCHES + 1))
    broken = [Sums(math.nan, math.nan, 10, 10)] * 20
    assert not clearly_worse(broken, losses(40, 5.0, 1), 40)


def test_the_standard_error_by_hand():
    """Equal sizes: the ratio's standard error is that of a mean, times the correction for finite populations."""
    differences = [1.0, 3.0, 2.0, 2.0, 1.0, 3.0, 2.0, 2.0]
    base = [Sums(100.0, 0.0, 10, 10)] * 32

    def worse(shift):
        mine = [Sums(100.0 + d + shift, 0.0, 10, 10) for d in differences]
        return clearly_worse(mine, base, 32)

    variance = sum((d - 2) ** 2 for d in differences) / 7
    error = math.sqrt((1 - 8 / 32) * variance / 8)
    assert worse(-2 + 3 * error + 1e-6) and not worse(-2 + 3 * error - 1e-6)


def test_what_is_stopped_is_worse_on_the_whole_split():
    """The rule may err in about one of a hundred cases: three standard errors, but several looks."""
    stopped = wrong = 0
    for seed in range(400):
        one, other = losses(40, 5.0, 2 * seed, 0.3), losses(40, 5.0, 2 * seed + 1, 0.3)
        if any(clearly_worse(one[:n], other, 40) for n in range(1, 40)):
            stopped += 1
            wrong += means(one)["loss"] <= means(other)["loss"]
    assert stopped > 50 and wrong <= 6


def test_the_estimate_of_a_constant_difference_is_exact():
    good, bad = losses(40, 5.0, 1), losses(40, 5.5, 1)
    found = estimate(bad[:10], good)
    assert found["loss"] == pytest.approx(means(bad)["loss"])
    assert found["nll_loss"] == pytest.approx(means(bad)["nll_loss"])
