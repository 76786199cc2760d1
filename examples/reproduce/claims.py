"""What a plan's results say about claims: reproduced, not reproduced or undecided, by one rule for all.

A claim is about a difference, or a value, and on which side of a limit it is. It is reproduced where the whole 95%
interval is on the claimed side, not reproduced where the whole interval is on the other, and undecided else: while an
architecture of the plan is not measured, and for fewer than :data:`SEEDS` supernet seeds of a method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reproduce.comparison import Comparison, compared, plain
from reproduce.plan import Plan
from reproduce.plan_blocks import Claim

SEEDS = 2
"""Supernet seeds of each method, at least: one tells nothing of how seeds differ."""

UNDECIDED = "undecided"

LESS = ("absolute_gap", "shortfall")
"""Quantities of which claims say that they are small."""


def verdict(low: float | None, high: float | None, limit: float, less: bool, strict: bool = False) -> str:
    """Returns what an interval says about a value's side of a limit.

    Args:
        low: of the interval.
        high: of the interval.
        limit: what the value is compared with.
        less: whether the claim is that it is at most that, else at least.
        strict: whether the limit itself is on the other side: a difference should not be 0.
    """
    if any(value is None or math.isnan(value) for value in (low, high, limit)):
        return UNDECIDED
    if not less:
        low, high, limit = -high, -low, -limit
    holds, fails = (high < limit, low >= limit) if strict else (high <= limit, low > limit)
    return "reproduced" if holds else "not reproduced" if fails else UNDECIDED


def claim_rows(
    plan: Plan, found: Comparison | None, summary: Sequence[Mapping], again: Sequence[Mapping]
) -> list[dict]:
    """Returns a row for each claim and metric.

    Args:
        plan: the plan.
        found: the measured values; None: nothing is known.
        summary: of :func:`reproduce.comparison.summary_rows`.
        again: of :func:`reproduce.retraining.retraining_rows`.
    """
    rows = []
    for claim in plan.claims:
        for metric in claim.metrics:
            row = {"claim": claim.claim, "metric": metric, "verdict": UNDECIDED, "rule": rule_of(claim)}
            rows.append(plain(row | (judged(plan, claim, metric, found, summary, again) if found else {})))
    return rows


def rule_of(claim: Claim) -> str:
    """Returns in words what has to be on which side of what."""
    less = claim.by in LESS
    if claim.than:
        return f"{claim.by} of {claim.method} {'<' if less else '>'} that of {claim.than}"
    limit = "noise floor" if less else f"{claim.at_least:g}"
    return f"{claim.by} of {claim.method} {'<=' if less else '>='} {limit}"


def judged(
    plan: Plan,
    claim: Claim,
    metric: str,
    found: Comparison,
    summary: Sequence[Mapping],
    again: Sequence[Mapping],
) -> dict:
    """Returns the verdict on a claim in one metric, with value, interval, limit, seeds and architectures."""
    less = claim.by in LESS
    if claim.by == "saved_percent":
        return saved(plan, claim, metric, again)
    methods = [claim.method, *([claim.than] if claim.than else [])]
    seeds = [len(found.seeds(method)) for method in methods]
    if not all(seeds):
        return {}
    known = min(int(found.gaps(metric, method)[1].sum()) for method in methods)
    if claim.than:
        own, name, limit = compared(found, metric, *methods, claim.by), "difference", 0.0
    else:
        own = next((row for row in summary if (row["metric"], row["method"]) == (metric, claim.method)), {})
        name, limit = claim.by, found.floor(metric) if less else claim.at_least
    value, low, high = (own.get(column) for column in (name, f"{name}_low", f"{name}_high"))
    line = {"value": value, "low": low, "high": high, "limit": limit, "seeds": "/".join(map(str, seeds))}
    enough = min(seeds) >= SEEDS and known == len(found.names)
    return line | {
        "architectures": known,
        "verdict": verdict(low, high, limit, less, bool(claim.than)) if enough else UNDECIDED,
    }


def saved(plan: Plan, claim: Claim, metric: str, again: Sequence[Mapping]) -> dict:
    """Returns :func:`judged` of what retraining saves; of several seeds the interval holds those of all."""
    wanted = (metric, claim.method, claim.variant)
    own = [row for row in again if (row["metric"], row["method"], row["variant"]) == wanted]
    own = [row for row in own if row.get("saved_percent") is not None]
    if not own:
        return {}
    ends = [(row["saved_low"], row["saved_high"]) for row in own]
    whole = all(value is not None for pair in ends for value in pair)
    low, high = (min(low for low, _ in ends), max(high for _, high in ends)) if whole else (None, None)
    known = min(row["architectures"] for row in own)
    line = {"value": sum(row["saved_percent"] for row in own) / len(own), "low": low, "high": high}
    line |= {"limit": claim.at_least, "seeds": str(len(own)), "architectures": known}
    enough = len(own) >= SEEDS and known == plan.retraining.architectures
    return line | {"verdict": verdict(low, high, claim.at_least, less=False) if enough else UNDECIDED}
