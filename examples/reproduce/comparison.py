"""What is compared: inherited values against those from scratch, with their statistics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fairseq_mos.arch import Architecture
from reproduce import stats
from reproduce.finished import Finished
from reproduce.plan import Plan
from reproduce.units import Job

SCRATCH = "scratch"
LOWER = ("loss", "nll_loss")
"""Metrics of which less is better."""
TITLES = {
    "loss": "valid loss, label-smoothed (bits per token)",
    "nll_loss": "valid loss (bits per token)",
    "bleu": "BLEU",
    "chrf": "chrF",
}
RANKERS = ("params", "flops")
TAUS = ("tau", "tau_strata", "tau_noise_tied", "tau_strata_noise_tied")
"""Forms of Kendall's tau."""


class Comparison:
    """The measured values that there are.

    Args:
        drawn: stratum and architecture of each that is compared.
        jobs: of the plan.
        finished: the finished units.

    Attributes:
        strata: of the architectures, in the drawn order.
        names: digests of the architectures, in the drawn order.
        values: (method, seed) -> digest -> metric -> value.
        jobs: (method, seed) -> its job; of training from scratch one of several.
    """

    def __init__(self, drawn: Sequence[tuple[int, Architecture]], jobs: Sequence[Job], finished: Finished):
        self.strata = np.array([stratum for stratum, _ in drawn])
        self.names = [one.digest() for _, one in drawn]
        self.values: dict[tuple[str, int], dict[str, dict]] = {}
        self.jobs: dict[tuple[str, int], Job] = {}
        for job in jobs:
            measured = finished.read(job.digest)
            key = (job.training.method, job.training.seed)
            for row in measured["rows"] if measured else ():
                self.values.setdefault(key, {})[row["architecture"]] = row
                self.jobs[key] = job

    def of(self, key: tuple[str, int], metric: str) -> np.ndarray:
        """Returns a metric of all architectures; NaN where it is not measured yet."""
        found = self.values.get(key, {})
        return np.array([found.get(name, {}).get(metric, np.nan) for name in self.names], float)

    def seeds(self, method: str) -> list[int]:
        """Returns the seeds of a method that have values."""
        return [seed for name, seed in self.values if name == method]

    def truth(self, metric: str) -> np.ndarray:
        """Returns each architecture's mean over the from-scratch seeds that are there."""
        seeds = [self.of((SCRATCH, seed), metric) for seed in self.seeds(SCRATCH)]
        if not seeds:
            return np.full(len(self.names), np.nan)
        known = ~np.isnan(seeds)
        total = np.where(known, seeds, 0.0).sum(0)
        return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)

    def gaps(self, metric: str, method: str, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a method's gaps, a row for each seed, of the architectures that all its seeds have.

        Args:
            metric: which.
            method: which.
            among: whether each architecture counts; by default those that all seeds and training from scratch have.

        Returns:
            The gaps, and whether each architecture counts.
        """
        gaps = np.array([self.of((method, seed), metric) for seed in self.seeds(method)]) - self.truth(metric)
        known = ~np.isnan(gaps).any(0) if among is None else among
        return gaps[:, known], known

    def floor(self, metric: str) -> float:
        """Returns the noise floor, see :func:`reproduce.stats.noise_floor`."""
        return stats.noise_floor([self.of((SCRATCH, seed), metric) for seed in self.seeds(SCRATCH)])

    def ceiling(self, metric: str) -> float:
        """Returns the mean tau-b of two from-scratch seeds: how alike noise lets two rankings be; NaN: not known."""
        seeds = np.array([self.of((SCRATCH, seed), metric) for seed in self.seeds(SCRATCH)])
        pairs = [pair[:, ~np.isnan(pair).any(0)] for pair in map(np.array, combinations(seeds, 2))]
        return float(np.mean([stats.kendall(*pair) for pair in pairs])) if pairs else float("nan")


def taus(scores: np.ndarray, truth: np.ndarray, strata: np.ndarray, floor: float) -> dict[str, tuple]:
    """Returns the arguments of Kendall's tau in each of its forms; those with ties by noise where that is known."""
    forms = {"tau": (scores, truth), "tau_strata": (scores, truth, strata)}
    if not np.isnan(floor):
        forms |= {"tau_noise_tied": (scores, truth, None, floor)}
        forms |= {"tau_strata_noise_tied": (scores, truth, strata, floor)}
    return forms


def ranks(scores: np.ndarray, truth: np.ndarray, strata: np.ndarray, floor: float) -> dict[str, float]:
    """Returns how well scores rank architectures; lower is better in both.

    Args:
        scores: one an architecture.
        truth: from-scratch values.
        strata: of cost.
        floor: noise floor of the truth.
    """
    if len(truth) < 2:
        return {}
    found = {}
    for name, arguments in taus(scores, truth, strata, floor).items():
        low, high = stats.kendall_interval(*arguments)
        found |= {name: stats.kendall(*arguments), f"{name}_low": low, f"{name}_high": high}
    low, high = stats.spearman_interval(scores, truth)
    found |= {"spearman": stats.spearman(scores, truth), "spearman_low": low, "spearman_high": high}
    return found | {"regret": stats.regret(scores, truth)}


def gap_rows(plan: Plan, found: Comparison, counts: list[dict]) -> list[dict]:
    """Returns a row for each metric, method and seed, and for parameters and FLOPs as rankers.

    Gaps are inherited minus from scratch.
    """
    strata, rows = found.strata, []
    for metric in plan.metrics:
        sign = sign_of(metric)
        truth, floor = found.truth(metric), found.floor(metric)
        keys = [key for key in found.values if key[0] != SCRATCH]
        for method, seed in keys:
            values = found.of((method, seed), metric)
            both = ~np.isnan(values) & ~np.isnan(truth)
            row = {"metric": metric, "method": method, "seed": seed, "architectures": int(both.sum())}
            if both.any():
                gaps = (values - truth)[both]
                worst = int(np.argmax(sign * gaps))
                low, high = stats.interval(len(gaps), absolute(gaps))
                row |= {"gap": gaps.mean(), "absolute_gap": np.abs(gaps).mean(), "absolute_gap_low": low}
                row |= {"absolute_gap_high": high, "worst_gap": gaps[worst]}
                row["shortfall"] = np.maximum(sign * gaps, 0).mean()
                row |= {"worst_architecture": np.array(found.names)[both][worst], "noise_floor": floor}
                row |= ranks(sign * values[both], sign * truth[both], strata[both], floor)
                row["chosen"] = np.array(found.names)[both][int(np.argmin(sign * values[both]))]
            rows.append(row)
        known = ~np.isnan(truth)
        for ranker in RANKERS:
            # More of it should be better.
            scores = -np.array([one[ranker] for one in counts], float)[known]
            row = {"metric": metric, "method": ranker, "architectures": int(known.sum())}
            rows.append(row | ranks(scores, sign * truth[known], strata[known], floor))
    return [plain(row) for row in rows]


def sign_of(metric: str) -> int:
    """Returns what makes less of a metric better."""
    return 1 if metric in LOWER else -1


def signed(gaps: np.ndarray) -> stats.Statistic:
    """Returns the mean gap, of resamplings."""
    return lambda at: gaps[at].mean(-1)


def absolute(gaps: np.ndarray) -> stats.Statistic:
    """Returns the mean absolute gap, of resamplings."""
    return lambda at: np.abs(gaps[at]).mean(-1)


def lacking(gaps: np.ndarray, sign: int) -> stats.Statistic:
    """Returns the mean shortfall, of resamplings: how much worse than from scratch, and 0 where it is better."""
    return lambda at: np.maximum(sign * gaps[at], 0).mean(-1)


def plain(row: dict) -> dict:
    """Returns a row without numpy's kinds of numbers; what is not known is None."""
    row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: None if value != value else value for name, value in row.items()}


MEANS = (
    *("gap", "absolute_gap", "shortfall", "worst_gap", *TAUS),
    *("spearman", "regret"),
)
"""Columns of :func:`gap_rows` whose means over seeds a summary has."""


def summary_rows(plan: Plan, found: Comparison, rows: list[dict]) -> list[dict]:
    """Returns a row for each metric and method: means over seeds with intervals, and whether seeds choose alike.

    Args:
        plan: the plan; its first method is what the others are compared with.
        found: the measured values.
        rows: of :func:`gap_rows`.
    """
    summary = []
    for metric, method in dict.fromkeys((row["metric"], row["method"]) for row in rows):
        own = [row for row in rows if (row["metric"], row["method"]) == (metric, method) and "tau" in row]
        if not own:
            continue
        line = {"metric": metric, "method": method, "seeds": len(own), "architectures": own[0]["architectures"]}
        for name in MEANS:
            values = [row[name] for row in own if row.get(name) is not None]
            if values:
                line[name] = float(np.mean(values))
                line[f"{name}_spread"] = float(np.max(values) - np.min(values))
        if method in RANKERS:
            # One ranking, without seeds: its interval is that of its row.
            line |= {name: value for name, value in own[0].items() if name.endswith(("_low", "_high"))}
        else:
            line |= intervals(found, metric, method)
            line |= {"noise_floor": found.floor(metric), "within_noise": within(line, found.floor(metric))}
            baseline = next(iter(plan.methods))
            if method != baseline and found.seeds(baseline):
                difference = compared(found, metric, method, baseline)
                line |= {"baseline": baseline, **difference}
        line["winner_agreement"] = stats.agreement([row.get("chosen") for row in own])
        summary.append(plain(line))
    return summary


def intervals(found: Comparison, metric: str, method: str) -> dict[str, float]:
    """Returns the ends of the intervals of a method's means: over architectures and seeds."""
    known, line = found.gaps(metric, method)[1], {}
    for name in ("gap", "absolute_gap", "shortfall", *TAUS):
        some = statistics_of(found, metric, method, name, known)
        if some:
            line[f"{name}_low"], line[f"{name}_high"] = stats.mean_interval(int(known.sum()), some)
    return line


def statistics_of(found: Comparison, metric: str, method: str, name: str, known: np.ndarray) -> list[stats.Statistic]:
    """Returns a statistic of each seed of a method, of resamplings.

    Args:
        found: the measured values.
        metric: which.
        method: which.
        name: `gap`, `absolute_gap`, `shortfall` or one of :data:`TAUS`; without a noise floor those with ties by noise
            are none.
        known: whether each architecture counts.
    """
    gaps = found.gaps(metric, method, known)[0]
    if name in ("gap", "absolute_gap"):
        return list(map(signed if name == "gap" else absolute, gaps))
    if name == "shortfall":
        return [lacking(one, sign_of(metric)) for one in gaps]
    truth, sign, floor = found.truth(metric)[known], sign_of(metric), found.floor(metric)
    forms = [taus(sign * (truth + one), sign * truth, found.strata[known], floor) for one in gaps]
    return [stats.kendall_statistic(*form[name]) for form in forms if name in form]


def within(line: dict, floor: float) -> str | None:
    """Returns whether a mean absolute gap is at most the noise floor: `yes` or `no` where its interval says so."""
    low, high = line["absolute_gap_low"], line["absolute_gap_high"]
    if np.isnan(low) or np.isnan(floor):
        return None
    return "yes" if high <= floor else "no" if low > floor else "open"


def compared(found: Comparison, metric: str, method: str, other: str, name: str = "absolute_gap") -> dict[str, float]:
    """Returns how much larger a statistic of a method is than another's, on the architectures that both have.

    Args:
        found: the measured values.
        metric: which.
        method: which.
        other: what is subtracted.
        name: of the statistic, see :func:`statistics_of`.
    """
    both = found.gaps(metric, method)[1] & found.gaps(metric, other)[1]
    one, two = (statistics_of(found, metric, which, name, both) for which in (method, other))
    if not (both.any() and one and two):
        return {}
    low, high = stats.mean_interval(int(both.sum()), one, two)
    everyone = np.arange(both.sum())[None]
    value = np.mean([of(everyone) for of in one]) - np.mean([of(everyone) for of in two])
    return {"difference": value, "difference_low": low, "difference_high": high}
