"""Retraining: what is trained on, what that saves of training from scratch, and when a supernet pays off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fairseq_mos.arch import Architecture
from reproduce import stats
from reproduce.comparison import SCRATCH
from reproduce.finished import Finished
from reproduce.plan import Plan, Trained, spread
from reproduce.units import NETWORK, Job, Retrained, Training, flags_of

COLUMNS = {
    "metric": "metric", "method": "method", "seed": "seed", "variant": "variant", "architectures": "archs",
    "gap_before": "gap before", "gap_after": "gap after", "not_reached": "not reached",
    "updates_until": "updates until", "saved_percent": "saved %", "saved_low": "from", "saved_high": "to",
    "break_even": "break-even",
    "break_even_until": "break-even, same loss",
}  # fmt: skip
"""Of the page's table, with their titles."""


def retrained_of(plan: Plan, architectures: Sequence[Architecture], jobs: Sequence[Job]) -> list[Retrained]:
    """Returns all retrainings of a plan, one of each method and variant before another architecture's.

    Args:
        plan: the plan.
        architectures: drawn for it, by stratum.
        jobs: see :func:`jobs_of`.
    """
    how, found = plan.retraining, []
    chosen = spread(architectures, how.architectures) if how.variants else []
    supernets = [job.training for job in jobs if not job.training.architecture]
    for seed in how.seeds if how.variants else ():
        for architecture in chosen:
            for variant, given in how.variants.items():
                part = Trained(seeds=[seed], flags=given, updates=how.updates)
                flags = flags_of(plan, part, seed, "retrained")
                flags.pop("--disable-validation", None)
                flags["--validate-interval-updates"] = flags["--save-interval-updates"] = [str(how.validate_every)]
                for source in supernets:
                    if source.seed == seed:
                        own = {name: values for name, values in source.flags.items() if name in NETWORK}
                        found.append(
                            Retrained(
                                f"retraining, {variant}", seed, how.updates, own | flags, source.corpus,
                                source.space, architecture, source=source, variant=variant,
                            )
                        )  # fmt: skip
    return found


def updates_until(curve: Sequence[Sequence[float]], target: float) -> int | None:
    """Returns the first update at which a loss is at most the target; None: at none.

    Args:
        curve: update and loss, by update; where validation is rare, so is the answer.
        target: loss to reach.
    """
    return next((int(update) for update, loss in curve if loss <= target), None)


def break_even(supernet: float, retraining: float, scratch: float) -> int | None:
    """Returns the smallest number n of subnets with supernet + n retraining < n scratch; None: never.

    Args:
        supernet: cost of its training.
        retraining: cost of one subnet's retraining.
        scratch: cost of one subnet's training from scratch, in the same unit.
    """
    return math.floor(supernet / (scratch - retraining)) + 1 if retraining < scratch else None


def retraining_rows(
    found, metrics: Sequence[str], jobs: Sequence[Job], units: Sequence[Retrained], finished: Finished,
    flops: Mapping[str, float],
) -> list[dict]:  # fmt: skip
    """Returns a row for each loss, method, seed and variant.

    A subnet that does not reach the mean loss of training from scratch counts as if it were trained from scratch: it
    saves nothing. Update 0 is the inherited subnet, as it is measured.

    Args:
        found: the :class:`reproduce.results.Comparison`.
        metrics: `loss`, `nll_loss` or both.
        jobs: of the plan.
        units: its retrainings.
        finished: the finished units.
        flops: digest -> FLOPs of a finished training.
    """
    scratch: dict[Architecture, list[Training]] = {}
    for job in jobs:
        if job.training.method == SCRATCH:
            scratch.setdefault(job.training.architecture, []).append(job.training)
    groups: dict[tuple[str, int, str], list[tuple[Retrained, dict]]] = {}
    for unit in units:
        result = finished.read(unit.digest)
        if result:
            groups.setdefault((unit.source.method, unit.seed, unit.variant), []).append((unit, result))
    rows = []
    for metric in metrics:
        truth = dict(zip(found.names, found.truth(metric)))
        for (method, seed, variant), own in groups.items():
            inherited = dict(zip(found.names, found.of((method, seed), metric)))
            gaps, shares, until, prices = [], [], [], []
            for unit, result in own:
                target, start = truth[unit.architecture.digest()], inherited[unit.architecture.digest()]
                if math.isnan(target) or math.isnan(start):
                    continue
                column = 1 if metric == "loss" else 2
                curve = [(0, start), *((point[0], point[column]) for point in result["curve"])]
                reached = updates_until(curve, target)
                others = scratch[unit.architecture]
                known = [flops[one.digest] for one in others if one.digest in flops]
                dense = sum(known) / len(known) if known else math.nan
                full = flops.get(unit.digest, math.nan)
                gaps.append((start - target, curve[-1][1] - target))
                until.append(math.nan if reached is None else reached)
                shares.append(1.0 if reached is None else reached / others[0].updates)
                prices.append((full, dense if reached is None else full * reached / unit.updates, dense))
            row = {"metric": metric, "method": method, "seed": seed, "variant": variant, "architectures": len(gaps)}
            if gaps:
                saved = 100 * (1 - np.array(shares))
                low, high = stats.interval(len(saved), lambda at, saved=saved: saved[at].mean(-1))
                missed = int(np.isnan(until).sum())
                row["gap_before"], row["gap_after"] = np.mean(gaps, 0)
                row |= {"reached": len(gaps) - missed, "not_reached": missed}
                row["updates_until"] = np.nanmean(until) if missed < len(gaps) else None
                row |= {"saved_percent": saved.mean(), "saved_low": low, "saved_high": high}
                supernet = flops.get(own[0][0].source.digest, math.nan)
                full, least, dense = np.mean(prices, 0)
                row |= {"supernet_teraflops": supernet / 1e12, "retraining_teraflops": full / 1e12}
                row |= {"until_teraflops": least / 1e12, "scratch_teraflops": dense / 1e12}
                if not math.isnan(supernet + full + dense):
                    row["break_even"] = break_even(supernet, full, dense)
                    row["break_even_until"] = break_even(supernet, least, dense)
            rows.append(row)
    return rows
