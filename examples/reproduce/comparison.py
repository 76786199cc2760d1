"""What is compared: inherited values against those from scratch, with their statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairseq_mos.arch import Architecture
from reproduce import stats
from reproduce.plan import Plan
from reproduce.units import Finished, Job

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


class Comparison:
    """The measured values that there are.

    Args:
        drawn: stratum and architecture of each that is compared.
        jobs: of the plan.
        finished: the finished units.

    Attributes:
        names: digests of the architectures, in the drawn order.
        values: (method, seed) -> digest -> metric -> value.
        jobs: (method, seed) -> its job; of training from scratch one of several.
    """

    def __init__(self, drawn: Sequence[tuple[int, Architecture]], jobs: Sequence[Job], finished: Finished):
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

    def floor(self, metric: str) -> float:
        """Returns the noise floor, see :func:`reproduce.stats.noise_floor`."""
        return stats.noise_floor([self.of((SCRATCH, seed), metric) for seed in self.seeds(SCRATCH)])


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
    low, high = stats.kendall_interval(scores, truth)
    tied = stats.kendall(scores, truth, floor=0.0 if np.isnan(floor) else floor)
    ends = stats.spearman_interval(scores, truth)
    within = stats.kendall_interval(scores, truth, strata)
    return {
        "tau": stats.kendall(scores, truth), "tau_low": low, "tau_high": high,
        "tau_strata": stats.kendall(scores, truth, strata), "tau_strata_low": within[0], "tau_strata_high": within[1],
        "tau_noise_tied": tied,
        "spearman": stats.spearman(scores, truth), "spearman_low": ends[0], "spearman_high": ends[1],
        "regret": stats.regret(scores, truth),
    }  # fmt: skip


def gap_rows(
    plan: Plan, drawn: Sequence[tuple[int, Architecture]], found: Comparison, counts: list[dict]
) -> list[dict]:
    """Returns a row for each metric, method and seed, and for parameters and FLOPs as rankers.

    Gaps are inherited minus from scratch.
    """
    strata = np.array([stratum for stratum, _ in drawn])
    rows = []
    for metric in plan.metrics:
        sign = 1 if metric in LOWER else -1
        truth, floor = found.truth(metric), found.floor(metric)
        keys = [key for key in found.values if key[0] != SCRATCH]
        for method, seed in keys:
            values = found.of((method, seed), metric)
            both = ~np.isnan(values) & ~np.isnan(truth)
            row = {"metric": metric, "method": method, "seed": seed, "architectures": int(both.sum())}
            if both.any():
                gaps = (values - truth)[both]
                worst = int(np.argmax(sign * gaps))
                low, high = stats.interval(len(gaps), lambda at, gaps=gaps: np.abs(gaps[at]).mean(-1))
                row |= {"gap": gaps.mean(), "absolute_gap": np.abs(gaps).mean(), "absolute_low": low}
                row |= {"absolute_high": high, "worst_gap": gaps[worst]}
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


def plain(row: dict) -> dict:
    """Returns a row without numpy's kinds of numbers; what is not known is None."""
    row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: None if value != value else value for name, value in row.items()}


def summary_rows(rows: list[dict]) -> list[dict]:
    """Returns a row for each metric and method: means over seeds, their spread, and whether seeds choose alike."""
    found = []
    for metric, method in dict.fromkeys((row["metric"], row["method"]) for row in rows):
        own = [row for row in rows if (row["metric"], row["method"]) == (metric, method) and "tau" in row]
        if not own:
            continue
        line = {"metric": metric, "method": method, "seeds": len(own), "architectures": own[0]["architectures"]}
        for name in ("gap", "absolute_gap", "worst_gap", "tau", "tau_strata", "tau_noise_tied", "spearman", "regret"):
            values = [row[name] for row in own if row.get(name) is not None]
            if values:
                line[name] = float(np.mean(values))
                line[f"{name}_spread"] = float(np.max(values) - np.min(values))
        line["winner_agreement"] = stats.agreement([row.get("chosen") for row in own])
        found.append(plain(line))
    return found
