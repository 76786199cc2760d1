"""Runs a plan: the jobs that are missing, then tables and pictures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import msgspec
from pipeline import commands
from pipeline.config import ROOT, PipelineError
from pipeline.work import Work, duration

from fairseq_mos.arch import SearchSpace
from fairseq_mos.documents import read_json
from fairseq_mos.files import atomic_write, check_folder
from fairseq_mos.paths import is_file
from fairseq_mos.report.logs import log_lines, scan_log
from fairseq_mos.tables import write_json
from fairseq_mos.version import __version__
from reproduce.corpus import corpus_digest, prepare
from reproduce.plan import draw, read_plan
from reproduce.retraining import curve_of, retrained_of
from reproduce.schedule import work_off
from reproduce.units import Finished, Job, Retrained, Training, command_line, jobs_of, missing, weights_of

_TOLD = re.compile(r'"wpb": "(?P<tokens>[\d.]+)".*"num_updates": "(?P<update>\d+)".*"wall": "(?P<wall>[\d.]+)"')

FINISHED = "finished"
"""A file beside the checkpoints of a finished training."""

CURVE = 20
"""Points of a loss curve that are kept, about."""


@dataclass(frozen=True)
class Runner:
    """What all jobs of a run share.

    Attributes:
        finished: the finished units.
        data: binarised data.
        work: the work folder; its lock is held by every command.
        threads: CPU threads of a command.
        busy: by digest, held while a training runs: several retrainings wait for one supernet.
    """

    finished: Finished
    data: Path
    work: Work
    threads: int
    busy: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def folder(self, training: Training) -> Path:
        """Returns where a training's checkpoints and log lie."""
        return self.work.folder / "trainings" / training.digest

    def do(self, job: Job | Retrained, place: dict[str, str]) -> None:
        """Trains, unless the finished checkpoint is here, and measures; or retrains.

        Args:
            job: what to do.
            place: variables of the environment that say where.

        Raises:
            PipelineError: a command failed.
        """
        training = job.training
        if isinstance(job, Retrained):
            self.retrain(job, place)
        else:
            checkpoint = self.trained(training, place)
            print(f"measuring: {training.name}", flush=True)
            self.measure(job, checkpoint, place)
        print(f"done: {training.name}", flush=True)

    def trained(self, training: Training, place: dict[str, str]) -> Path:
        """Returns the last checkpoint of a training, which runs unless that is here.

        Raises:
            PipelineError: it failed.
        """
        folder = self.folder(training)
        checkpoint = folder / "checkpoints" / "checkpoint_last.pt"
        with self.busy[training.digest]:
            # Not its result: that may come from another machine, and the checkpoint here from a training that was
            # killed.
            if not is_file(folder / FINISHED) or not is_file(checkpoint):
                print(f"training: {training.name}", flush=True)
                self.train(training, place)
        return checkpoint

    def retrain(self, unit: Retrained, place: dict[str, str]) -> None:
        """Extracts a subnet and trains it on; keeps its curve, and no checkpoint.

        Raises:
            PipelineError: a command failed.
        """
        folder = self.folder(unit)
        subnet, weights = folder / "subnet.yaml", weights_of(folder)
        if not is_file(weights):
            supernet = self.trained(unit.source, place)
            weights.parent.mkdir(parents=True, exist_ok=True)
            unit.architecture.save(subnet)
            words = ["extract", "--path", str(supernet), "--data", str(self.data), "--architecture", str(subnet)]
            self.command("fairseq_mos.cli", [*words, "--output", str(weights)], folder / "extract.log", place)
        print(f"training: {unit.name}", flush=True)
        self.train(unit, place)
        for done in (weights.parent, folder / "checkpoints"):
            shutil.rmtree(done)

    def train(self, training: Training, place: dict[str, str]) -> None:
        """Runs fairseq-train, which goes on where a killed one stopped, and keeps what its log tells.

        Raises:
            PipelineError: it failed.
        """
        folder = self.folder(training)
        subnet, save_dir, log = folder / "subnet.yaml", folder / "checkpoints", folder / "train.log"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "unit.json", {"name": training.name, **training.spec})
        if training.architecture:
            training.architecture.save(subnet)
        peak = self.command("fairseq_cli.train", command_line(training, self.data, save_dir, subnet), log, place)
        told = told_by(log) | ({"curve": curve_of(log)} if isinstance(training, Retrained) else {})
        self.finished.write(training, {**told, "peak_bytes": peak, **self.about()})
        # fairseq's best checkpoint and the last interval's are copies; the last one is what is measured.
        for file in save_dir.glob("checkpoint_*.pt"):
            if file.name != "checkpoint_last.pt":
                file.unlink()
        (folder / FINISHED).touch()

    def measure(self, job: Job, checkpoint: Path, place: dict[str, str]) -> None:
        """Measures a trained model in a process of its own.

        Raises:
            PipelineError: it failed.
        """
        folder = self.folder(job.training)
        request, output = folder / "request.json", folder / "measured.json"
        with atomic_write(request) as stream:
            json.dump(
                {
                    "checkpoint": str(checkpoint),
                    "data": str(self.data),
                    "space": job.training.space.to_dict(),
                    "architectures": [one.to_dict() for one in job.architectures],
                    "scratch": job.training.architecture is not None,
                    "scores": job.scores,
                    "beam": job.beam,
                },
                stream,
            )
        begin = time.monotonic()
        script = str(Path(__file__).with_name("measure.py"))
        peak = self.command(script, [str(request), str(output)], folder / "measure.log", place)
        costs = {"seconds": round(time.monotonic() - begin, 1), "peak_bytes": peak}
        self.finished.write(job, {**read_json(output, "measurement"), **costs, **self.about()})

    def command(self, module: str, arguments: list[str], log: Path, place: dict[str, str]) -> int:
        """Runs a command and returns its peak memory in bytes."""
        held = [self.work.lock.fileno()]
        return commands.run(module, arguments, log, self.threads, held=held, variables=place).peak_bytes

    def failed(self, job: Job | Retrained, error: PipelineError) -> None:
        """Counts a failed attempt and says it."""
        # What is kept in git names no place of this machine.
        message = str(error).split("; log: ")[0]
        for name, folder in (("WORK", self.work.folder), ("DATA", self.data), ("ROOT", ROOT)):
            message = message.replace(str(folder), name)
        self.finished.write_failure(job, error.code, message)
        print(f"failed: {job.training.name}: {error}", file=sys.stderr, flush=True)

    def about(self) -> dict:
        """Returns the circumstances that explain timings and rounding."""
        git = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        versions = {"torch": metadata.version("torch"), "fairseq_mos": __version__, "commit": git.stdout.strip()}
        return {"threads": self.threads, "machine": platform.machine(), "python": platform.python_version(), **versions}


def told_by(log: Path) -> dict:
    """Returns what a training's log tells: speed, tokens of an update, loss curves, how often it was started.

    Raises:
        PipelineError: nothing.
    """
    scanned = scan_log(log, "supernet")
    if not scanned.train:
        raise PipelineError(f"{log} tells of no update", 1)
    starts, tokens, wall = 0, {}, {}
    for line in log_lines(log):
        starts += line.startswith("$ ")
        told = _TOLD.search(line)
        if told:
            update = int(told["update"])
            tokens[update], wall[update] = float(told["tokens"]), float(told["wall"])
    seconds = scanned.seconds[max(scanned.seconds)]
    first, last = min(wall, default=0), max(wall, default=0)
    return {
        "updates": scanned.updates,
        "train_seconds": seconds,
        "updates_per_second": scanned.updates / seconds if seconds else None,
        # With validation and saving, without what a kill has undone.
        "wall_seconds": wall.get(last),
        "wall_seconds_per_update": (wall[last] - wall[first]) / (last - first) if first < last else None,
        "tokens_per_update": sum(tokens.values()) / len(tokens) if tokens else None,
        "starts": starts,
        "train_loss": thinned(scanned.train),
        "valid_loss": {role or "loss": thinned(curve) for role, curve in scanned.valid.items()},
    }


def thinned(curve: dict[int, float]) -> list[list[float]]:
    """Returns some points of a curve, the last one among them."""
    points = [[update, value] for update, value in sorted(curve.items())]
    return points[:: -max(1, len(points) // CURVE)][::-1]


def places(jobs: int | None) -> list[dict[str, str]]:
    """Returns where jobs run side by side: a GPU each, as far as there are some.

    Args:
        jobs: how many; None: one a GPU.
    """
    code = "import torch; print(torch.cuda.device_count())"
    count = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout or 0)
    if not count:
        return [{} for _ in range(jobs or 1)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if len(visible) == count and visible != [""] else list(map(str, range(count)))
    return [{"CUDA_VISIBLE_DEVICES": names[number % count]} for number in range(jobs or count)]


def run_plan(args: argparse.Namespace) -> None:
    """Runs a plan, or estimates it.

    Args:
        args: the flags of :mod:`reproduce.arguments`.

    Raises:
        UserError: a plan or data that cannot be used.
        PipelineError: a job failed; the others are done, and the tables written.
    """
    plan = read_plan(args.plan)
    if args.data:
        plan = msgspec.structs.replace(plan, corpus=msgspec.structs.replace(plan.corpus, data=str(args.data)))
    check_folder(args.results)
    space = SearchSpace.load(plan.space)
    drawn = draw(space, plan.architectures)
    # What trains nothing does not wait for what does.
    work = Work(args.work / "dry-run" if args.dry_run or args.report else args.work, 0)
    try:
        data = prepare(plan.corpus, args.work, args.threads)
        architectures = [one for _, one in drawn]
        jobs = jobs_of(plan, architectures, corpus_digest(data))
        retrained = retrained_of(plan, architectures, jobs)
        units = [*jobs, *retrained]
        runner = Runner(Finished(args.results), data, work, args.threads)
        todo = missing(units, runner.finished)
        print(f"{len(units)} units: {len(units) - len(todo)} done, {len(todo)} missing", flush=True)
        if args.dry_run:
            from reproduce.estimate import estimate

            estimate(runner, units, todo, places(args.jobs))
            return
        begin, lost = time.monotonic(), []
        if todo and not args.report:
            where = places(args.jobs)
            first = [unit for unit in todo if isinstance(unit, Job)]
            lost = work_off(first, where, runner.do, runner.failed)
            # A supernet that cannot be trained is not tried again for each of its subnets.
            sources = {job.training.digest for job in lost}
            rest = [unit for unit in todo if isinstance(unit, Retrained) and unit.source.digest not in sources]
            lost += work_off(rest, where, runner.do, runner.failed)
    finally:
        work.lock.close()
    from reproduce.results import write_results

    page = write_results(args.results / args.plan.stem, args.plan.stem, plan, drawn, jobs, runner.finished, retrained)
    print(f"results: {page}; elapsed: {duration(time.monotonic() - begin)}", flush=True)
    if lost:
        names = ", ".join(job.training.name for job in lost)
        raise PipelineError(f"{len(lost)} of {len(units)} units failed: {names}; logs: {args.work}/trainings", 1)
