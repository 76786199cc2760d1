"""--dry-run: what is done and missing, and the hours that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairseq_mos.documents import read_json
from fairseq_mos.paths import is_file
from fairseq_mos.tables import text_lines, write_json
from reproduce.running import Runner, removed, told_by
from reproduce.units import Job, Training, command_line

SAMPLE = 20
"""Updates that are timed."""


def estimate(runner: Runner, jobs: Sequence[Job], todo: Sequence[Job], places: Sequence[dict[str, str]]) -> None:
    """Prints a line for each method, and the hours until everything is done.

    Args:
        runner: of the plan.
        jobs: all jobs.
        todo: those that are missing.
        places: where they run side by side.

    Raises:
        PipelineError: the updates that are timed failed.
    """
    grid = [["method", "done", "missing", "hours", "timed by"]]
    total = 0.0
    for method in dict.fromkeys(job.training.method for job in jobs):
        own = [job for job in jobs if job.training.method == method]
        left = [job for job in own if job in todo]
        hours, source = 0.0, ""
        if left:
            seconds, source = seconds_per_update(runner, jobs, left[0].training, places[0])
            updates = sum(job.training.updates for job in left)
            measuring = len(left) * measuring_seconds(runner, own, jobs)
            hours = (updates * seconds + measuring) / 3600
            total += hours
        grid.append([method, str(len(own) - len(left)), str(len(left)), f"{hours:.1f}", source])
    print("\n".join(text_lines(grid)))
    print(f"about {total:.1f} hours of one process, {total / len(places):.1f} hours with {len(places)} side by side")


def seconds_per_update(
    runner: Runner, jobs: Sequence[Job], training: Training, place: dict[str, str]
) -> tuple[float, str]:
    """Returns the seconds of an update (of results: with validation and saving), and what tells them.

    Args:
        runner: of the plan.
        jobs: all jobs.
        training: one of the method.
        place: where to time, if need be.
    """
    alike = [one for one in jobs if bool(one.training.architecture) == bool(training.architecture)]
    for some in ([one for one in alike if one.training.method == training.method], alike):
        found = [runner.finished.read(job.training.digest) for job in some]
        seconds = [one["wall_seconds_per_update"] for one in found if one and one["wall_seconds_per_update"]]
        if seconds:
            return sum(seconds) / len(seconds), f"{len(seconds)} results"
    return timed(runner, training, place), f"{SAMPLE} updates"


def timed(runner: Runner, training: Training, place: dict[str, str]) -> float:
    """Times some updates; what was timed before in this work folder is not timed again.

    Raises:
        PipelineError: the training failed.
    """
    folder = runner.work.folder / "samples" / training.digest
    kept = folder.with_suffix(".json")
    if not is_file(kept) or read_json(kept, "timed sample")["seconds"] is None:
        removed(folder)
        folder.mkdir(parents=True)
        flags = training.flags | {"--max-update": [str(SAMPLE)], "--log-interval": ["1"], "--no-save": []}
        flags |= {"--disable-validation": [], "--log-format": ["json"]}
        sample = replace(training, flags=flags)
        if training.architecture:
            training.architecture.save(folder / "subnet.yaml")
        words = command_line(sample, runner.data, folder / "checkpoints", folder / "subnet.yaml")
        log = folder / "train.log"
        runner.command("fairseq_cli.train", words, log, place)
        write_json(kept, {"seconds": told_by(log)["wall_seconds_per_update"]})
    return read_json(kept, "timed sample")["seconds"]


def measuring_seconds(runner: Runner, own: Sequence[Job], jobs: Sequence[Job]) -> float:
    """Returns the seconds that a measurement takes by the results that there are: 10 an architecture without any."""
    for some in (own, jobs):
        found = [(len(job.architectures), runner.finished.read(job.digest)) for job in some]
        rates = [one["seconds"] / count for count, one in found if one]
        if rates:
            return sum(rates) / len(rates) * len(own[0].architectures)
    return 10.0 * len(own[0].architectures)
