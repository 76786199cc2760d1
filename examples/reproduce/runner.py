"""Does the units of a plan: the commands that train, extract and measure, in a folder of work."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from pipeline import commands
from pipeline.config import ROOT, PipelineError
from pipeline.work import Work

from fairseq_mos.documents import read_json
from fairseq_mos.paths import is_file
from fairseq_mos.tables import write_json
from fairseq_mos.version import __version__
from reproduce.conflicts import keeping
from reproduce.finished import Finished
from reproduce.training_logs import curve_of, told_by
from reproduce.units import Conflict, Job, Retrained, Training, Unit, command_line, weights_of

FINISHED = "finished"
"""A file beside the checkpoints of a finished training."""


@dataclass(frozen=True)
class Runner:
    """What all jobs of a run share.

    Attributes:
        finished: the finished units.
        data: binarised data.
        work: the work folder of this run; its lock is held by every command.
        trainings: where checkpoints and logs of trainings lie.
        threads: CPU threads of a command.
        kept: by digest of a training, the updates whose checkpoints are measured later.
        busy: by digest, held while a training runs: several retrainings wait for one supernet.
    """

    finished: Finished
    data: Path
    work: Work
    trainings: Path
    threads: int
    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)
    busy: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def folder(self, training: Training) -> Path:
        """Returns where a training's checkpoints and log lie."""
        return self.trainings / training.digest

    def do(self, unit: Unit, place: dict[str, str]) -> None:
        """Trains, unless the finished checkpoint is here, and measures; or retrains.

        Args:
            unit: what to do.
            place: variables of the environment that say where.

        Raises:
            PipelineError: a command failed.
        """
        if isinstance(unit, Retrained):
            self.retrain(unit, place)
        elif isinstance(unit, Conflict):
            self.compare_gradients(unit, place)
        else:
            checkpoint = self.trained(unit.training, place)
            print(f"measuring: {unit.name}", flush=True)
            self.measure(unit, checkpoint, place)
        print(f"done: {unit.name}", flush=True)

    def checkpoint(self, unit: Conflict) -> Path | None:
        """Returns the checkpoint of a finished training that a unit is of; None: it is gone, or not there yet."""
        folder = self.folder(unit.training)
        last = unit.update == unit.training.updates
        name = "checkpoint_last.pt" if last else f"checkpoint_*_{unit.update}.pt"
        found = sorted((folder / "checkpoints").glob(name))
        return found[0] if found and is_file(folder / FINISHED) else None

    def gone(self, unit: Conflict) -> bool:
        """Whether a unit's checkpoint will not come: its training is done, and not here, or did not keep it."""
        kept = is_file(self.folder(unit.training) / FINISHED) or self.finished.read(unit.training.digest)
        return bool(kept) and self.checkpoint(unit) is None

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

        What hands on its weights is trained before, unless its checkpoint is here.

        Raises:
            PipelineError: it failed.
        """
        folder = self.folder(training)
        subnet, save_dir, log = folder / "subnet.yaml", folder / "checkpoints", folder / "train.log"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "unit.json", {"name": training.name, **training.spec})
        if training.architecture:
            training.architecture.save(subnet)
        kept = self.kept.get(training.digest, ())
        start = self.trained(training.start, place) if training.start else None
        words = command_line(keeping(training, kept), self.data, save_dir, subnet, start)
        peak = self.command("fairseq_cli.train", words, log, place)
        told = told_by(log) | ({"curve": curve_of(log)} if isinstance(training, Retrained) else {})
        self.finished.write(training, {**told, "peak_bytes": peak, **self.about()})
        # fairseq's best checkpoint and the last interval's are copies; the last one is what is measured.
        wanted = {str(update) for update in kept if update != training.updates}
        for file in save_dir.glob("checkpoint_*.pt"):
            if file.name != "checkpoint_last.pt" and file.stem.rpartition("_")[2] not in wanted:
                file.unlink()
        (folder / FINISHED).touch()

    def measure(self, job: Job, checkpoint: Path, place: dict[str, str]) -> None:
        """Measures a trained model in a process of its own.

        Raises:
            PipelineError: it failed.
        """
        request = {"scratch": job.training.architecture is not None, "scores": job.scores, "beam": job.beam}
        self.ask("measure", job, checkpoint, request, place)

    def compare_gradients(self, unit: Conflict, place: dict[str, str]) -> None:
        """Measures gradient conflict, after which a checkpoint within the training is not needed any more.

        Raises:
            PipelineError: it failed.
        """
        checkpoint = self.checkpoint(unit)
        if checkpoint is None:
            raise PipelineError(f"the checkpoint at update {unit.update} is gone", 2)
        print(f"measuring: {unit.name}", flush=True)
        self.ask("measure_conflicts", unit, checkpoint, {"batches": unit.batches}, place)
        if unit.update != unit.training.updates:
            checkpoint.unlink()

    def ask(self, script: str, unit: Job | Conflict, checkpoint: Path, request: dict, place: dict[str, str]) -> None:
        """Runs a script that measures architectures of a checkpoint, and keeps what it found.

        Args:
            script: its name, without ending.
            unit: what is measured.
            checkpoint: of what.
            request: what only this script is told.
            place: see :meth:`do`.

        Raises:
            PipelineError: it failed.
        """
        folder = self.folder(unit.training)
        # A unit of its own: several of one training run side by side.
        asked, output = (folder / f"{name}-{unit.digest}.json" for name in ("request", "measured"))
        common = {"checkpoint": str(checkpoint), "data": str(self.data), "space": unit.training.space.to_dict()}
        common["architectures"] = [one.to_dict() for one in unit.architectures]
        write_json(asked, common | request)
        begin = time.monotonic()
        file = str(Path(__file__).with_name(f"{script}.py"))
        peak = self.command(file, [str(asked), str(output)], folder / f"{script}.log", place)
        costs = {"seconds": round(time.monotonic() - begin, 1), "peak_bytes": peak}
        self.finished.write(unit, {**read_json(output, "measurement"), **costs, **self.about()})

    def command(self, module: str, arguments: list[str], log: Path, place: dict[str, str]) -> int:
        """Runs a command and returns its peak memory in bytes."""
        held = [self.work.lock.fileno()]
        return commands.run(module, arguments, log, self.threads, held=held, variables=place).peak_bytes

    def failed(self, unit: Unit, error: PipelineError) -> None:
        """Counts a failed attempt and says it."""
        # What is kept in git names no place of this machine.
        message = str(error).split("; log: ")[0]
        for name, folder in (("WORK", self.work.folder), ("DATA", self.data), ("ROOT", ROOT)):
            message = message.replace(str(folder), name)
        self.finished.write_failure(unit, error.code, message)
        print(f"failed: {unit.name}: {error}", file=sys.stderr, flush=True)

    def about(self) -> dict:
        """Returns the circumstances that explain timings and rounding."""
        git = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        versions = {"torch": metadata.version("torch"), "fairseq_mos": __version__, "commit": git.stdout.strip()}
        return {"threads": self.threads, "machine": platform.machine(), "python": platform.python_version(), **versions}
