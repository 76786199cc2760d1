"""Gradient conflict over the training of supernets: what is measured where, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from fairseq_mos.arch import Architecture
from reproduce.finished import Finished
from reproduce.plan import Plan, spread
from reproduce.units import Conflict, Job, Training


def conflicts_of(plan: Plan, architectures: Sequence[Architecture], jobs: Sequence[Job]) -> list[Conflict]:
    """Returns the measurements of gradient conflict of a plan: at a training's end first, which is there longest.

    Args:
        plan: the plan.
        architectures: drawn for it, by stratum.
        jobs: of the plan.
    """
    how = plan.conflicts
    chosen = tuple(spread(architectures, how.architectures)) if how.methods else ()
    first = {job.training.method: job.training for job in reversed(jobs)}
    return [
        Conflict(first[method], update, chosen, how.batches)
        for method in how.methods
        for update in reversed(points(first[method].updates, how.points))
    ]


def points(updates: int, number: int) -> list[int]:
    """Returns the updates at which a training is looked at, by increasing number; the last one is its end."""
    step = max(1, updates // number)
    return [*range(step, updates, step)][: number - 1] + [updates]


def kept_updates(units: Sequence[Conflict]) -> dict[str, list[int]]:
    """Returns, by digest of a training, the updates whose checkpoints have to be kept, sorted."""
    kept: dict[str, list[int]] = {}
    for unit in units:
        kept.setdefault(unit.training.digest, []).append(unit.update)
    return {digest: sorted(updates) for digest, updates in kept.items()}


def keeping(training: Training, updates: Sequence[int]) -> Training:
    """Returns a training that keeps some checkpoints, and is the same otherwise: its digest stays.

    Args:
        training: the training.
        updates: of :func:`kept_updates`: multiples of the first one, but for the last.
    """
    if len(updates) < 2:
        return training
    interval = gcd(updates[0], int(training.flags.get("--save-interval-updates", ["0"])[0]))
    own = {"--save-interval-updates": interval, "--keep-interval-updates-pattern": updates[0]}
    flags = {"--keep-interval-updates": ["1"]} | training.flags | {name: [str(value)] for name, value in own.items()}
    return replace(training, flags=flags)


def conflict_rows(units: Sequence[Conflict], finished: Finished) -> list[dict]:
    """Returns a row for each method, update and kind of weights.

    Args:
        units: of the plan.
        finished: the finished units.
    """
    rows = []
    for unit in sorted(units, key=lambda unit: unit.update):
        measured = finished.read(unit.digest)
        about = {"method": unit.training.method, "seed": unit.training.seed, "update": unit.update}
        rows += [about | row for row in (measured["rows"] if measured else ())]
    order = list(dict.fromkeys(unit.training.method for unit in units))
    return sorted(rows, key=lambda row: order.index(row["method"]))


def conflict_table(rows: Sequence[dict]) -> list[dict]:
    """Returns a row for each method and update: share of negative cosines and their mean, over all and by kind."""
    table: dict[tuple, dict] = {}
    for row in rows:
        about = {name: row[name] for name in ("method", "seed", "update")}
        line = table.setdefault(tuple(about.values()), about)
        line[row["kind"]] = f"{row['negative']:.3f}\n{row['cosine']:+.3f}"
    return list(table.values())
