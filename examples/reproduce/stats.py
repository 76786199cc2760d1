"""Statistics of a comparison: rank correlation with ties by noise, bootstrap intervals, noise floor, regret.

All of it works on values of the same architectures in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
"""Of the intervals."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes places of architectures, a row for each resampling, in which one may stand several times, and returns a value
for each row; NaN does not count."""


def kendall(x: Sequence[float], y: Sequence[float], strata: Sequence[int] | None = None, floor: float = 0.0) -> float:
    """Returns Kendall's tau-b over pairs.

    Args:
        x: one value an architecture.
        y: the other.
        strata: count only pairs within one; None: all pairs.
        floor: a difference smaller than this, of either value, is a tie.

    Returns:
        -1 to 1; NaN where x or y has ties alone. Without strata and floor it is scipy's `kendalltau`.
    """
    return float(_tau(*_signs(x, y, strata, floor)))


def _signs(x, y, strata, floor) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for values in (x, y):
        differences = np.subtract.outer(np.asarray(values, float), np.asarray(values, float))
        found.append(np.where(np.abs(differences) < floor, 0.0, np.sign(differences)))
    if strata is not None:
        same = np.equal.outer(np.asarray(strata), np.asarray(strata))
        found = [signs * same for signs in found]
    return found[0], found[1]


def _tau(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns tau-b of matrices of signs, whose last two axes are the architectures."""
    # Each pair stands twice, in numerator and denominator.
    return _ratio((one * other).sum((-2, -1)), (one**2).sum((-2, -1)) * (other**2).sum((-2, -1)))


def _ratio(products: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return np.where(squares > 0, products / np.sqrt(np.maximum(squares, 1e-300)), np.nan)


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns Spearman's rank correlation; NaN where one has ties alone."""
    return float(_spearman(np.asarray(x, float), np.asarray(y, float)))


def spearman_interval(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Returns the bootstrap interval of :func:`spearman`."""
    one, other = np.asarray(x, float), np.asarray(y, float)
    return interval(len(one), lambda at: _spearman(one[at], other[at]))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    one, other = (rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 for values in (x, y))
    return _ratio((one * other).sum(-1), (one**2).sum(-1) * (other**2).sum(-1))


def interval(number: int, statistic: Statistic, seed: int = 1) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of a statistic, by resampling architectures.

    Args:
        number: architectures.
        statistic: of resamplings.
        seed: of the resampling.

    Returns:
        Its ends; NaN for fewer than 3 architectures.
    """
    return mean_interval(number, [statistic], seed=seed)


def mean_interval(
    number: int, statistics: Sequence[Statistic], minus: Sequence[Statistic] = (), seed: int = 1
) -> tuple[float, float]:
    """Returns the bootstrap interval of a mean over seeds, or of the difference of two, on the same architectures.

    Architectures are resampled, the same for all, and so are the seeds of each mean. With few seeds it is too narrow in
    what they contribute: two tell little about a third.

    Args:
        number: architectures.
        statistics: one a seed.
        minus: one a seed, whose mean is subtracted.
        seed: of the resampling.

    Returns:
        Its ends; NaN for fewer than 3 architectures.
    """
    if number < 3:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    at = rng.integers(0, number, (RESAMPLES, number))
    values = over_seeds(at, statistics, rng)
    return ends(values - over_seeds(at, minus, rng) if minus else values)


def over_seeds(at: np.ndarray, statistics: Sequence[Statistic], rng: np.random.Generator) -> np.ndarray:
    """Returns the mean over resampled seeds for each resampling of architectures."""
    values = np.array([statistic(at) for statistic in statistics])
    if len(values) == 1:
        return values[0]
    seeds = rng.integers(0, len(values), values.shape)
    chosen = np.take_along_axis(values, seeds, axis=0)
    # A statistic that is not there for one resampling, as a tau of ties alone, leaves the other seeds.
    known = ~np.isnan(chosen)
    total = np.where(known, chosen, 0.0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)


def ends(values: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the interval that holds :data:`LEVEL` of the values; NaN where there are none."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def kendall_statistic(
    x: Sequence[float], y: Sequence[float], strata: Sequence[int] | None = None, floor: float = 0.0
) -> Statistic:
    """Returns :func:`kendall` as a function of resamplings."""
    one, other = _signs(x, y, strata, floor)

    def of(at: np.ndarray) -> np.ndarray:
        pairs = at[:, :, None], at[:, None, :]
        return _tau(one[pairs], other[pairs])

    return of


def kendall_interval(
    x: Sequence[float], y: Sequence[float], strata: Sequence[int] | None = None, floor: float = 0.0
) -> tuple[float, float]:
    """Returns the bootstrap interval of :func:`kendall`."""
    return interval(len(x), kendall_statistic(x, y, strata, floor))


def noise_floor(seeds: Sequence[Sequence[float]]) -> float:
    """Returns the mean absolute difference of two seeds over architectures, all pairs of seeds alike.

    Args:
        seeds: of each seed the values of the architectures; NaN where one is missing.
    """
    differences = [np.abs(np.subtract(one, other)) for one, other in combinations(np.asarray(seeds, float), 2)]
    known = np.concatenate(differences) if differences else np.array([])
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def regret(chosen_by: Sequence[float], truth: Sequence[float]) -> float:
    """Returns how much worse the truth of the best by one value is than the best truth; lower is better in both."""
    return float(truth[int(np.argmin(chosen_by))] - np.min(truth))


def best_of(truth: Sequence[float], number: int) -> float:
    """Returns the expected best of some values drawn at random, without replacement; lower is better.

    Args:
        truth: the values.
        number: how many are drawn; as many as there are, or more: all.
    """
    values, total = np.sort(np.asarray(truth, float)), len(truth)
    drawn = min(number, total)
    # The best is the i-th where the others are among those behind it.
    chances = [comb(total - 1 - place, drawn - 1) / comb(total, drawn) for place in range(total)]
    return float(values @ chances)


def agreement(winners: Sequence[object]) -> float:
    """Returns the share of pairs of seeds with the same winner; NaN for fewer than two."""
    pairs = list(combinations(winners, 2))
    return sum(one == other for one, other in pairs) / len(pairs) if pairs else float("nan")
