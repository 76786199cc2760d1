"""Which architecture each way of choosing takes under a limit of FLOPs, and how much worse it is than the best.

All from values that are measured anyway: nothing is trained for this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from reproduce import stats
from reproduce.comparison import SCRATCH, Comparison, sign_of
from reproduce.plan import Plan
from reproduce.units import Job

WAYS = ("supernet", "random_1", "random", "flops", "params")
"""Columns of regrets."""


def choice_rows(
    plan: Plan,
    found: Comparison,
    counts: Sequence[Mapping],
    jobs: Sequence[Job],
    flops: Mapping[str, float],
) -> list[dict]:
    """Returns a row for each metric, method, seed and limit; a limit is what the largest of a stratum takes.

    Regret is how much worse, trained from scratch, the choice is than the best that fits. Random search has the FLOPs
    that the supernet's training took: it trains `trainings` architectures from scratch and knows them exactly, which
    flatters it; the supernet's measurements, small beside its training, are not counted.

    Args:
        plan: the plan.
        found: the measured values.
        counts: parameters and FLOPs of each.
        jobs: of the plan.
        flops: digest -> FLOPs of a finished training.
    """
    own = {name: np.array([one[name] for one in counts], float) for name in ("flops", "params")}
    dense: dict[str, list[float]] = {}
    for job in jobs:
        if job.training.method == SCRATCH and job.training.digest in flops:
            dense.setdefault(job.training.architecture.digest(), []).append(flops[job.training.digest])
    prices = np.array([np.mean(dense.get(name, math.nan)) for name in found.names])
    rows = []
    for metric in plan.metrics:
        sign = sign_of(metric)
        truth = sign * found.truth(metric)
        for key, job in found.jobs.items():
            values = sign * found.of(key, metric)
            for stratum in () if job.training.architecture else range(plan.architectures.strata):
                fit = (found.strata <= stratum) & ~np.isnan(truth) & ~np.isnan(values)
                if fit.sum() < 2:
                    continue
                row = {"metric": metric, "method": key[0], "seed": key[1], "stratum": stratum}
                row |= {"limit_mflops": own["flops"][fit].max() / 1e6, "architectures": int(fit.sum())}
                best, price = truth[fit].min(), np.nanmean(prices[fit]) if not np.isnan(prices[fit]).all() else math.nan
                row["supernet"] = stats.regret(values[fit], truth[fit])
                row["random_1"] = truth[fit].mean() - best
                budget = flops.get(job.training.digest, math.nan) / price
                if not math.isnan(budget):
                    row["trainings"] = max(1, math.floor(budget))
                    row["random"] = stats.best_of(truth[fit], row["trainings"]) - best
                row |= {name: stats.regret(-own[name][fit], truth[fit]) for name in own}
                rows.append(row)
    return rows


def choice_summary(rows: Sequence[Mapping]) -> list[dict]:
    """Returns a row for each metric and method: means over limits and seeds."""
    summary = []
    for metric, method in dict.fromkeys((row["metric"], row["method"]) for row in rows):
        own = [row for row in rows if (row["metric"], row["method"]) == (metric, method)]
        line = {"metric": metric, "method": method, "seeds": len({row["seed"] for row in own})}
        line["limits"] = len({row["stratum"] for row in own})
        for name in ("trainings", *WAYS):
            values = [row[name] for row in own if row.get(name) is not None]
            line[name] = float(np.mean(values)) if values else None
        summary.append(line)
    return summary
