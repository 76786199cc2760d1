"""Units of work: one training and its scores; what determines it, and the command that does it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reproduce.plan import parse_flags
from reproduce.units import digest_of

from fairseq_mos.documents import read_json
from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_file
from glue.plan import Plan
from glue.preparing import data_folder
from glue.starting import Start
from glue.tasks import TASKS

REVISION = 1
"""Raised when code changes what the same flags train or what is scored: earlier results then do not count."""

NEUTRAL = {"--num-workers", "--log-interval", "--save-interval-updates", "--keep-interval-updates"}
"""Flags that do not change what is learned."""

BOS, SEPARATOR = 0, 2
"""fairseq's numbers of what begins an example and what stands between two sentences."""

SAVE_EVERY = 500
"""Updates: what a kill can undo at most."""


@dataclass(frozen=True)
class Data:
    """A prepared task: what `about.json` in its folder says.

    Attributes:
        task: its name.
        folder: where.
        digest: of its contents.
        train: training examples.
        length: longest example, in tokens.
        splits: split -> examples, without train.
    """

    task: str
    folder: Path
    digest: str
    train: int
    length: int
    splits: dict[str, int]


def read_data(output: Path, task: str) -> Data:
    """Returns a prepared task.

    Raises:
        UserError: it is not prepared, or what is there is damaged.
    """
    folder = data_folder(output, task)
    file = folder / "about.json"
    if not is_file(file):
        raise UserError(f"{task} is not prepared in {folder}: bash examples/glue/run.sh prepare --tasks {task} ...")
    about = read_json(file, "prepared task")
    try:
        examples = dict(about["examples"])
        return Data(task, folder, about["digest"], examples.pop("train"), about["length"], examples)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}): prepare {task} again") from error


@dataclass(frozen=True)
class Unit:
    """One training and its scores.

    Attributes:
        data: its task.
        point: learning rate, batch and epochs.
        seed: of the training.
        updates: how many.
        flags: of fairseq-train, by name; those that depend on the place are added when it runs.
        model: digest of the checkpoint that it starts from, or of the unit that made it.
        teacher: digest of the unit of the teacher; empty: without one.
        start: the checkpoint.
        teacher_path: that of the teacher.
    """

    data: Data
    point: tuple[float, int, int]
    seed: int
    updates: int
    flags: dict[str, list[str]]
    model: str
    teacher: str
    start: Path
    teacher_path: Path | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        lr, batch, epochs = self.point
        passes = f"{epochs} epoch{'s' * (epochs > 1)}"
        taught = " with a teacher" * bool(self.teacher)
        return f"{self.data.task}, lr {lr:g}, batch {batch}, {passes}, seed {self.seed}{taught}"

    @property
    def spec(self) -> dict:
        """What determines its outcome."""
        flags = {name: values for name, values in self.flags.items() if name not in NEUTRAL}
        return {
            "kind": "glue",
            "revision": REVISION,
            "task": self.data.task,
            "data": self.data.digest,
            "point": list(self.point),
            "seed": self.seed,
            "flags": flags,
            "model": self.model,
            "teacher": self.teacher,
        }

    @property
    def digest(self) -> str:
        """Of :attr:`spec`."""
        return digest_of(self.spec)


def flops_at_most(plan: Plan, data: Data, weights: int, seeds: int) -> float:
    """Returns FLOPs of all of a task's trainings: 6 a weight and token (Kaplan et al. 2020), no sentence shorter.

    Args:
        plan: the grid.
        data: the task.
        weights: of the model, without embeddings and output layer.
        seeds: how many.
    """
    points = [(batch, epochs) for _ in plan.lr for batch in plan.batch for epochs in plan.epochs]
    examples = sum(updates_of(plan, data.train, batch, epochs) * batch for batch, epochs in points)
    return 6.0 * weights * examples * data.length * seeds


def updates_of(plan: Plan, train: int, batch: int, epochs: int) -> int:
    """Returns the updates of a training: the linear decay has to know them before."""
    updates = math.ceil(train / batch) * epochs
    return min(updates, plan.max_updates or updates)


def units_of(
    plan: Plan,
    data: Data,
    start: Start,
    seeds: Iterable[int],
    source: tuple[str, Path] | None = None,
    teacher: tuple[str, Path] | None = None,
    distillation: tuple[float, float] = (0.5, 1.0),
) -> list[Unit]:
    """Returns a task's units, first seeds first.

    Args:
        plan: the grid.
        data: the task.
        start: the pretrained model.
        seeds: of the trainings.
        source: digest and checkpoint of the fine-tuned model to start from instead.
        teacher: digest and checkpoint of the teacher.
        distillation: its weight and temperature.
    """
    model, path = source or (start.digest, start.path)
    found = []
    for seed in seeds:
        for lr in plan.lr:
            for batch in plan.batch:
                for epochs in plan.epochs:
                    point = (lr, batch, epochs)
                    updates = updates_of(plan, data.train, batch, epochs)
                    flags = flags_of(plan, data, start, point, updates, seed, distillation if teacher else None)
                    taught = teacher or ("", None)
                    found.append(Unit(data, point, seed, updates, flags, model, taught[0], path, taught[1]))
    return found


def flags_of(
    plan: Plan,
    data: Data,
    start: Start,
    point: tuple[float, int, int],
    updates: int,
    seed: int,
    distillation: tuple[float, float] | None,
) -> dict[str, list[str]]:
    """Returns the flags of a training that do not depend on the place; the plan's are over the others."""
    task, (lr, batch, _) = TASKS[data.task], point
    criterion = "sentence_prediction_distillation" if distillation else "sentence_prediction"
    own = {
        "--task": "sentence_prediction",
        "--criterion": criterion,
        "--num-classes": max(1, len(task.labels)),
        "--init-token": BOS,
        "--separator-token": SEPARATOR,
        # The task overwrites the model's own: the table of positions has to fit the checkpoint's.
        "--max-positions": start.positions,
        "--arch": start.arch,
        "--optimizer": "adam",
        "--weight-decay": 0,
        "--clip-norm": 0,
        "--lr": f"{lr:.12g}",
        "--lr-scheduler": "polynomial_decay",
        "--warmup-updates": 0,
        "--total-num-update": updates,
        "--max-update": updates,
        "--batch-size": batch,
        # With 8, fairseq's default, batches that are no multiple lose examples.
        "--required-batch-size-multiple": 1,
        "--seed": seed,
        "--num-workers": 0,
        "--log-format": "json",
        "--log-interval": 50,
        "--save-interval-updates": SAVE_EVERY,
        "--keep-interval-updates": 1,
    }
    if distillation:
        own |= dict(zip(("--distillation-weight", "--temperature"), (f"{value:g}" for value in distillation)))
    found = {name: [str(value)] for name, value in own.items()}
    # Scored once, at the end, from the predictions of all examples.
    found |= {"--disable-validation": [], "--no-epoch-checkpoints": []}
    if task.regression:
        found["--regression-target"] = []
    return {**found, **start.flags, **parse_flags(plan.flags)}


def command_line(unit: Unit, save_dir: Path, subnet: Path | None) -> list[str]:
    """Returns the arguments of fairseq-train.

    Args:
        unit: what is trained.
        save_dir: folder for checkpoints.
        subnet: file of the architecture, of a subnet.
    """
    # Not --restore-file with --reset-*: that would begin anew after a kill.
    places = {"--user-dir": "fairseq_mos", "--save-dir": save_dir, "--finetune-from-model": unit.start}
    places |= {"--subnet": subnet} if subnet else {}
    places |= {"--teacher": unit.teacher_path} if unit.teacher_path else {}
    flags = unit.flags | {name: [str(value)] for name, value in places.items()}
    return [str(unit.data.folder), *(word for name, values in flags.items() for word in (name, *values))]


class Finished:
    """The finished units of a model, a folder each.

    Args:
        folder: the model's.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def of(self, unit: Unit | str) -> Path:
        """Returns a unit's folder."""
        return self.folder / "units" / (unit if isinstance(unit, str) else unit.digest)

    def model(self, unit: Unit | str) -> Path:
        """Returns where a unit's fine-tuned model lies, without its optimizer."""
        return self.of(unit) / "model.pt"

    def read(self, digest: str) -> dict | None:
        """Returns a unit's result, with what determines it as `unit`; None where it is not finished.

        Raises:
            UserError: a damaged file.
        """
        file = self.of(digest) / "result.json"
        return read_json(file, "finished unit") if is_file(file) else None

    def write(self, unit: Unit, result: dict) -> None:
        """Keeps a result, in one step."""
        from fairseq_mos.tables import write_json

        spec = json.loads(json.dumps(unit.spec))
        write_json(self.of(unit) / "result.json", {"name": unit.name, "unit": spec, "result": result})
