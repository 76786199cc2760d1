"""--dry-run: what is done and missing, and the hours that are left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from fairseq_mos.documents import read_json
from fairseq_mos.paths import is_file
from fairseq_mos.tables import text_lines, write_json
from reproduce.costs import training_flops
from reproduce.runner import Runner
from reproduce.training_logs import told_by
from reproduce.units import Conflict, Job, Training, Unit, command_line

SAMPLE = 12
"""Updates that are timed."""


CONFLICT = "gradient conflict"

CONFLICT_SECONDS = 60.0
"""Of such a measurement, before there is a result."""


def estimate(runner: Runner, jobs: Sequence[Unit], todo: Sequence[Unit], places: Sequence[dict[str, str]]) -> None:
    """Prints a line for each method, and the hours until everything is done.

    Args:
        runner: of the plan.
        jobs: all jobs.
        todo: those that are missing.
        places: where they run side by side.

    Raises:
        PipelineError: the updates that are timed failed.
    """
    grid = [["method", "done", "missing", "hours", "TFLOP", "timed by"]]
    total, work = 0.0, 0.0
    groups: dict[str, list[Unit]] = {}
    for job in jobs:
        groups.setdefault(CONFLICT if isinstance(job, Conflict) else job.training.method, []).append(job)
    for method, own in groups.items():
        left = [job for job in own if job in todo]
        hours, flops, source = 0.0, 0.0, ""
        if left and method == CONFLICT:
            hours, source = len(left) * conflict_seconds(runner, own) / 3600, "results"
        elif left:
            seconds, source = seconds_per_update(runner, jobs, left[0].training, places[0])
            updates = sum(job.training.updates for job in left)
            flops = sum(job.training.updates * update_flops(job.training) for job in left) / 1e12
            measuring = len(left) * measuring_seconds(runner, own, jobs)
            hours = (updates * seconds + measuring) / 3600
        total, work = total + hours, work + flops
        # What is gone is neither done nor waited for.
        done = sum(runner.finished.read(job.digest) is not None for job in own)
        grid.append([method, str(done), str(len(left)), f"{hours:.1f}", f"{flops:.3g}", source])
    print("\n".join(text_lines(grid)))
    print(f"about {total:.1f} hours of one process, {total / len(places):.1f} hours with {len(places)} side by side")
    print(f"training: {work:.3g} TFLOP of dense passes with full batches, without output layer and mixing")


def seconds_per_update(
    runner: Runner, jobs: Sequence[Unit], training: Training, place: dict[str, str]
) -> tuple[float, str]:
    """Returns the seconds of an update, without validation and saving, and what tells them.

    Without a result of the method, those of others tell, or a sample: time goes with the FLOPs of the dense passes.

    Args:
        runner: of the plan.
        jobs: all jobs.
        training: one of the method.
        place: where to time, if need be.
    """
    alike = [one.training for one in jobs if bool(one.training.architecture) == bool(training.architecture)]
    for some in ([one for one in alike if one.method == training.method], alike):
        found = [(one, runner.finished.read(one.digest)) for one in some]
        speeds = [(one, result["updates_per_second"]) for one, result in found if result]
        rates = [1 / speed / update_flops(one) for one, speed in speeds if speed]
        if rates:
            return sum(rates) / len(rates) * update_flops(training), f"{len(rates)} results"
    seconds = timed(runner, alike[0], place)
    return seconds * update_flops(training) / update_flops(alike[0]), f"{SAMPLE} updates"


def update_flops(training: Training) -> float:
    """Returns the FLOPs of an update, a mean over some, if its batches were full."""
    few = min(training.updates, 300)
    tokens = prod(int(training.flags.get(flag, ["1"])[0]) for flag in ("--max-tokens", "--update-freq"))
    return training_flops(replace(training, updates=few, start=None), tokens) / few


def timed(runner: Runner, training: Training, place: dict[str, str]) -> float:
    """Times some updates; what was timed before in this work folder is not timed again.

    Raises:
        PipelineError: the training failed.
    """
    folder = runner.work.folder / "samples" / training.digest
    kept = folder.with_suffix(".json")
    if not is_file(kept) or read_json(kept, "timed sample")["seconds"] is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        flags = training.flags | {"--max-update": [str(SAMPLE)], "--log-interval": ["1"], "--no-save": []}
        flags |= {"--disable-validation": [], "--log-format": ["json"]}
        sample = replace(training, flags=flags)
        if training.architecture:
            training.architecture.save(folder / "subnet.yaml")
        words = command_line(sample, runner.data, folder / "checkpoints", folder / "subnet.yaml")
        log = folder / "train.log"
        runner.command("fairseq_cli.train", words, log, place)
        rate = told_by(log)["updates_per_second"]
        write_json(kept, {"seconds": rate and 1 / rate})
    return read_json(kept, "timed sample")["seconds"]


def measuring_seconds(runner: Runner, own: Sequence[Unit], jobs: Sequence[Unit]) -> float:
    """Returns the seconds that a measurement takes by the results that there are: 10 an architecture without any."""
    own, jobs = ([job for job in some if isinstance(job, Job)] for some in (own, jobs))
    if not own:
        return 0.0
    for some in (own, jobs):
        found = [(len(job.architectures), runner.finished.read(job.digest)) for job in some]
        rates = [one["seconds"] / count for count, one in found if one]
        if rates:
            return sum(rates) / len(rates) * len(own[0].architectures)
    return 10.0 * len(own[0].architectures)


def conflict_seconds(runner: Runner, units: Sequence[Conflict]) -> float:
    """Returns the seconds of a measurement of gradient conflict, by the results that there are."""
    found = [result["seconds"] for unit in units if (result := runner.finished.read(unit.digest))]
    return sum(found) / len(found) if found else CONFLICT_SECONDS
