"""Dense models that are trained for the FLOPs that a supernet, its search and a retraining take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from msgspec import structs

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from reproduce.comparison import Comparison, sign_of
from reproduce.costs import BACKWARD, training_flops
from reproduce.finished import Finished
from reproduce.plan import Plan
from reproduce.plan_blocks import DRAWN, Matched
from reproduce.units import Job, Training, flags_of

COLUMNS = {
    "method": "as much as",
    "seed": "seed",
    "architecture": "architecture",
    "updates": "updates",
    "dense": "dense",
    "scratch": "from scratch, usual updates",
    "inherited": "inherited",
    "best_inherited": "best inherited",
    "gain": "best inherited, better by",
}
"""Of the page's table, with their titles."""


def matched_of(
    plan: Plan, architectures: Sequence[Architecture], jobs: Sequence[Job], tokens: Callable[[Training], tuple]
) -> list[Job]:
    """Returns the trainings of dense models, with their measurements.

    Args:
        plan: the plan.
        architectures: drawn for it, by stratum.
        jobs: of the plan.
        tokens: of a supernet's training: target tokens of the valid split, and of an update; asked where a search
            is counted.

    Raises:
        UserError: an architecture that the space does not have.
    """
    how, found = plan.compute_matched, []
    first = {job.training.method: job for job in reversed(jobs)}
    for method in how.methods:
        job = first[method]
        space = job.training.space
        flops = family_of(space).flops
        dense = max(architectures, key=flops) if how.architecture == DRAWN else named(plan, how.architecture)
        share = tokens(job.training) if how.evaluations else (0, 1.0)
        updates = matched_updates(how, job.training, dense, np.mean([flops(one) for one in architectures]), *share)
        for seed in how.seeds:
            flags = flags_of(plan, structs.replace(plan.scratch, updates=updates), seed, "scratch")
            same = {"corpus": job.training.corpus, "space": space, "revision": plan.scratch.revision}
            training = Training(title(method), seed, updates, flags, architecture=dense, **same)
            found.append(replace(job, training=training, architectures=(dense,)))
    return found


def title(method: str) -> str:
    """Returns what a dense model's training is called, by the method whose FLOPs it has."""
    return f"dense, as {method}"


def named(plan: Plan, name: str) -> Architecture:
    """Returns the architecture that a plan names."""
    try:
        return resolve(SearchSpace.load(plan.space), name)
    except UserError as error:
        raise UserError(f"compute_matched.architecture: {error}") from None


def matched_updates(
    how: Matched,
    supernet: Training,
    dense: Architecture,
    measured: float,
    valid_tokens: float = 0.0,
    update_tokens: float = 1.0,
) -> int:
    """Returns for how many updates a dense model is trained, by closed forms: no more FLOPs than all stages together.

    A search's evaluation is a forward pass over the valid split, a third of what training on as many tokens takes.

    Args:
        how: the plan's block.
        supernet: the training of the supernet.
        dense: what is trained instead, and what the retraining would train on.
        measured: FLOPs of an architecture that a search measures, on average, for a sentence of 30/30 tokens.
        valid_tokens: target tokens of the valid split.
        update_tokens: target tokens of an update, of one architecture.
    """
    per_update = family_of(supernet.space).flops(dense)
    # Of one token, so that updates of the same tokens cancel out.
    spent = training_flops(supernet, 1.0) * 30 / BACKWARD
    spent += how.evaluations * measured * valid_tokens / update_tokens / BACKWARD
    spent += how.retraining * per_update
    return max(1, int(spent // per_update))


def matched_rows(plan: Plan, found: Comparison, units: Sequence[Job], finished: Finished) -> list[dict]:
    """Returns a row for each metric, method and seed: the dense model beside inherited weights.

    Args:
        plan: the plan.
        found: the measured values of its supernets.
        units: of :func:`matched_of`.
        finished: the finished units.
    """
    rows = []
    for metric in plan.metrics:
        sign, truth = sign_of(metric), dict(zip(found.names, found.truth(metric)))
        for unit in units:
            measured = finished.read(unit.digest)
            method = next(name for name in plan.compute_matched.methods if title(name) == unit.training.method)
            name = unit.training.architecture.digest()
            row = {"metric": metric, "method": method, "seed": unit.training.seed, "architecture": name}
            row |= {"updates": unit.training.updates, "dense": None}
            if measured:
                row["dense"] = measured["rows"][0].get(metric)
            seeds = found.seeds(method)
            inherited = found.of((method, seeds[0]), metric) if seeds else np.full(len(found.names), np.nan)
            row["scratch"] = truth.get(name)
            row["inherited"] = dict(zip(found.names, inherited)).get(name)
            if not np.isnan(inherited).all():
                best = inherited[np.nanargmin(sign * inherited)]
                row["best_inherited"] = best
                if row["dense"] is not None:
                    row["gain"] = sign * (row["dense"] - best)
            rows.append(row)
    return rows
