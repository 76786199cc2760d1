"""What trainings cost: FLOPs from counts and tokens, time and memory as measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from fairseq_mos.arch import Architecture
from fairseq_mos.families import family_of
from fairseq_mos.tasks.options import SupernetTaskConfig, sampler
from reproduce.finished import Finished
from reproduce.units import Job, Training

BACKWARD = 3
"""Forward and backward together cost about three forward passes."""


def counts_of(architecture: Architecture) -> dict[str, int]:
    """Returns `params` (without embeddings) and `flops` (a sentence of 30/30 tokens, without output layer)."""
    counts = family_of(architecture).counts(architecture)
    return {"params": counts["params_no_embed"], "flops": counts["flops"]}


def training_flops(training: Training, tokens_per_update: float) -> float:
    """Returns the FLOPs of a training: of its architectures' dense passes, without output layer, mixing and optimiser.

    Those of the training that it begins with are counted, too, and frozen weights as trained ones: an upper bound.

    Args:
        training: the training; of a supernet the architectures that each update drew are counted.
        tokens_per_update: target tokens of its batches, whether all architectures train on all of them or not.
    """
    per_token = family_of(training.space).flops
    if training.architecture:
        total = training.updates * per_token(training.architecture)
    else:
        cfg = task_options(training)
        drawn = sampler(cfg, training.space, training.seed)
        total, known = 0, {}
        for update in range(training.updates):
            sampled = drawn.of_update(update)
            for _, one in sampled:
                if one not in known:
                    known[one] = per_token(one)
                total += known[one] / (len(sampled) if cfg.arch_own_batches else 1)
    before = training_flops(training.start, tokens_per_update) if training.start else 0.0
    return before + BACKWARD * total * tokens_per_update / 30


def task_options(training: Training) -> SupernetTaskConfig:
    """Returns the options of a supernet's task that its flags give."""
    values = {}
    for option in fields(SupernetTaskConfig):
        words = training.flags.get("--" + option.name.replace("_", "-"))
        if words is not None:
            kind = type(option.default)
            values[option.name] = True if kind is bool else {int: int, float: float}.get(kind, str)(words[0])
    return SupernetTaskConfig(**values)


def all_flops(trainings: Iterable[Training], finished: Finished) -> dict[str, float]:
    """Returns the FLOPs of each finished training whose log told its tokens, by its digest."""
    found = {}
    for training in trainings:
        tokens = (finished.read(training.digest) or {}).get("tokens_per_update")
        if tokens and training.digest not in found:
            found[training.digest] = training_flops(training, tokens)
    return found


def training_minutes(training: Training, finished: Finished) -> float | None:
    """Returns how long a finished training took, with the one that it begins with; None where one is not known."""
    parts = [finished.read(one.digest) for one in (training, training.start) if one]
    seconds = [part and part["train_seconds"] for part in parts]
    return sum(seconds) / 60 if all(seconds) else None


def costs_of(jobs: Sequence[Job], finished: Finished, flops: Mapping[str, float]) -> list[dict]:
    """Returns a row for each method: its finished trainings' means, and the failed attempts of all.

    Args:
        jobs: of a plan.
        finished: the finished units.
        flops: of :func:`all_flops`.
    """
    rows = []
    for method in dict.fromkeys(job.training.method for job in jobs):
        found = [
            (job.training, trained)
            for job in jobs
            if job.training.method == method and (trained := finished.read(job.training.digest)) is not None
        ]
        if not found:
            continue

        def mean(values: list[float]) -> float | None:
            known = [value for value in values if value is not None]
            return sum(known) / len(known) if known else None

        total = mean([flops.get(training.digest) for training, _ in found])
        minutes = [training_minutes(training, finished) for training, _ in found]
        rows.append(
            {
                "method": method,
                "trainings": len(found),
                "updates": found[0][0].updates,
                "train_minutes": mean(minutes),
                "updates_per_second": mean([trained["updates_per_second"] for _, trained in found]),
                "training_teraflops": None if total is None else total / 1e12,
                "peak_mib": max(trained["peak_bytes"] for _, trained in found) / 2**20,
                "threads": found[0][1]["threads"],
                "restarts": sum(trained["starts"] - 1 for _, trained in found),
                "failed_attempts": sum(
                    len(finished.failures(job.digest)) for job in jobs if job.training.method == method
                ),
            }
        )
    return rows
