"""Fine-tunes a model on a plan's grid: the units that are missing, then the table."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pipeline import commands
from pipeline.config import PipelineError
from pipeline.work import Work, duration
from reproduce.running import places
from reproduce.schedule import work_off

from fairseq_mos.errors import UserError
from fairseq_mos.files import check_folder
from fairseq_mos.metrics.glue import score_file
from fairseq_mos.paths import is_file
from fairseq_mos.tables import write_json
from fairseq_mos.version import __version__
from glue.choosing import best_unit, models_folder, read_about, units_in
from glue.plan import Plan, read_plan
from glue.preparing import data_folder
from glue.starting import Start, open_start
from glue.tasks import TASKS
from glue.units import Data, Finished, Unit, command_line, flops_at_most, read_data, units_of


@dataclass(frozen=True)
class Runner:
    """What all units of a run share.

    Attributes:
        finished: the model's finished units.
        work: its work folder; the lock is held by every command.
        threads: CPU threads of a command.
        subnet: file of the architecture, of a subnet.
    """

    finished: Finished
    work: Work
    threads: int
    subnet: Path | None

    def do(self, unit: Unit, place: dict[str, str]) -> None:
        """Trains and scores.

        Args:
            unit: what to do.
            place: variables of the environment that say where.

        Raises:
            PipelineError: a command failed.
        """
        folder = self.finished.of(unit)
        checkpoints, log = folder / "checkpoints", folder / "train.log"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "unit.json", {"name": unit.name, **unit.spec})
        print(f"training: {unit.name}, {unit.updates:,} updates", flush=True)
        begin = time.monotonic()
        self.command("fairseq_cli.train", command_line(unit, checkpoints, self.subnet), log, place)
        seconds = round(time.monotonic() - begin, 1)
        words = [str(checkpoints / "checkpoint_last.pt"), str(unit.data.folder), str(folder), *unit.data.splits]
        self.command(str(Path(__file__).with_name("predict.py")), words, folder / "predict.log", place)
        scores = {}
        for split in unit.data.splits:
            file = folder / f"predictions.{split}.tsv"
            scores[split] = score_file(file, unit.data.task)
        result = {"scores": scores, "examples": unit.data.splits, "updates": unit.updates, "train_seconds": seconds}
        self.finished.write(unit, {**result, **about(self.threads)})
        shutil.rmtree(checkpoints)
        told = ", ".join(f"{name} {value:.2f}" for name, value in scores["valid"].items())
        print(f"done: {unit.name}: {told}", flush=True)

    def command(self, module: str, arguments: list[str], log: Path, place: dict[str, str]) -> None:
        """Runs a command."""
        held = [self.work.lock.fileno()]
        commands.run(module, arguments, log, self.threads, held=held, variables=place)

    def failed(self, unit: Unit, error: PipelineError) -> None:
        """Says a failed attempt."""
        print(f"failed: {unit.name}: {error}", file=sys.stderr, flush=True)


def about(threads: int) -> dict:
    """Returns the circumstances that explain timings and rounding."""
    versions = {name: metadata.version(name) for name in ("torch", "scikit-learn", "scipy")}
    return {"threads": threads, "machine": platform.machine(), **versions, "fairseq_mos": __version__}


def finetune(args: argparse.Namespace) -> None:
    """Fine-tunes a model, or says what would be done.

    Args:
        args: the flags of :mod:`glue.arguments`.

    Raises:
        UserError: a plan, data or model that cannot be used.
        PipelineError: a training failed; the others are done, and the table is written.
    """
    plan = read_plan(args.plan)
    check_folder(args.output)
    names = args.tasks or tuple(name for name in TASKS if is_file(data_folder(args.output, name) / "about.json"))
    if not names:
        raise UserError(f"nothing is prepared in {args.output}: bash examples/glue/run.sh prepare ...")
    data = {name: read_data(args.output, name) for name in names}
    later = [name for name in plan.from_mnli if name in names]
    start = open_start(args.model, data[names[0]].folder / "input0" / "dict.txt")
    longest = max(data.values(), key=lambda one: one.length)
    if longest.length > start.positions:
        raise UserError(
            f"{longest.task} is prepared with {longest.length} tokens, {args.model} has {start.positions} positions: "
            f"prepare it with --length {start.positions} or less"
        )
    teachers = {name: _teacher(args, data[name]) for name in names}
    folder = models_folder(args.output) / args.name
    seeds = args.seeds or tuple(plan.seeds)
    distillation = (args.distillation_weight, args.temperature)
    finished = Finished(folder)

    def units(tasks: Sequence[str], sources: dict[str, tuple[str, Path]]) -> list[Unit]:
        found = [
            units_of(plan, data[name], start, seeds, sources.get(name), teachers[name], distillation) for name in tasks
        ]
        # Each task's first point early, so that a table has a number for all.
        places_of = ((place, unit) for one in found for place, unit in enumerate(one))
        return [unit for _, unit in sorted(places_of, key=lambda item: item[0])]

    first = [name for name in names if name not in later]
    if args.dry_run:
        _tell(finished, units(first, {}), plan, later, len(seeds))
        flops = sum(flops_at_most(plan, one, start.params_no_embed, len(seeds)) for one in data.values())
        print(f"all together, done ones too: at most {flops:.1e} FLOPs (6 a weight and token, no example shorter)")
        return
    if later and "MNLI" not in names:
        # Before hours of work on the other tasks.
        _source(args.output, args.name, bool(args.teacher), later)
    _claim(folder, start, args)
    begin, lost = time.monotonic(), []
    with Work(folder, 0) as work:
        subnet = _subnet(folder, start)
        runner = Runner(finished, work, args.threads, subnet)
        where = places(args.jobs)
        lost += _run(runner, units(first, {}), where)
        if later:
            source = _source(args.output, args.name, bool(args.teacher), later)
            lost += _run(runner, units(later, dict.fromkeys(later, source)), where)
    if not args.keep_all:
        _clean(finished, args.output, args.name, bool(args.teacher), data.values())
    from glue.results import table

    table(args)
    print(f"elapsed: {duration(time.monotonic() - begin)}", flush=True)
    if lost:
        names = "; ".join(unit.name for unit in lost)
        raise PipelineError(f"{len(lost)} trainings failed: {names}; logs: {folder}/units", 1)


def _run(runner: Runner, units: list[Unit], where: list[dict[str, str]]) -> list[Unit]:
    finished = runner.finished
    todo = [unit for unit in units if finished.read(unit.digest) is None]
    print(f"{len(units)} trainings: {len(units) - len(todo)} done, {len(todo)} missing", flush=True)
    return work_off(todo, where, runner.do, runner.failed)


def _tell(finished: Finished, units: list[Unit], plan: Plan, later: list[str], seeds: int) -> None:
    todo = [unit for unit in units if finished.read(unit.digest) is None]
    print(f"{len(units)} trainings: {len(units) - len(todo)} done, {len(todo)} missing")
    for unit in todo:
        print(f"missing: {unit.name}, {unit.updates:,} updates")
    if later:
        points = len(plan.lr) * len(plan.batch) * len(plan.epochs) * seeds
        print(f"after MNLI, from its best model: {', '.join(later)}, {points} trainings each")


def _claim(folder: Path, start: Start, args: argparse.Namespace) -> None:
    """Keeps what a name stands for.

    Raises:
        UserError: it stands for another model.
    """
    known = read_about(folder)
    if known and known["model"] != start.digest:
        raise UserError(f"--name {args.name} stands for another model in {args.output}: give another name")
    sizes = {"params": start.params, "params_no_embed": start.params_no_embed, "params_budget": start.params_budget}
    write_json(folder / "model.json", {"model": start.digest, "arch": start.arch, **sizes})


def _subnet(folder: Path, start: Start) -> Path | None:
    if start.architecture is None:
        return None
    from fairseq_mos.arch import Architecture

    file = folder / "architecture.yaml"
    Architecture.load(start.architecture).save(file)
    return file


def _teacher(args: argparse.Namespace, data: Data) -> tuple[str, Path] | None:
    """Returns digest and checkpoint of the teacher for a task.

    Raises:
        UserError: it was not fine-tuned on the task, or its checkpoint is gone.
    """
    if not args.teacher:
        return None
    found = best_unit(args.output, args.teacher, data.task, data.digest, distilled=False)
    path = Finished(models_folder(args.output) / args.teacher).model(found) if found else None
    if path is None or not is_file(path):
        raise UserError(
            f"--teacher {args.teacher} has no fine-tuned model of {data.task} in {args.output}: run finetune --name "
            f"{args.teacher} --tasks {data.task} first"
        )
    return found, path


def _source(output: Path, name: str, distilled: bool, later: list[str]) -> tuple[str, Path]:
    """Returns digest and checkpoint of a model's best fine-tuning on MNLI.

    Raises:
        UserError: there is none.
    """
    prepared = is_file(data_folder(output, "MNLI") / "about.json")
    found = best_unit(output, name, "MNLI", read_data(output, "MNLI").digest, distilled) if prepared else None
    path = Finished(models_folder(output) / name).model(found) if found else None
    if path is None or not is_file(path):
        raise UserError(
            f"the plan's from_mnli starts {' and '.join(later)} from the best model of MNLI, of which there is none: "
            "fine-tune on MNLI too, or take them out of from_mnli"
        )
    return found, path


def _clean(finished: Finished, output: Path, name: str, distilled: bool, data) -> None:
    """Removes the fine-tuned models of a task, but for the best."""
    for one in data:
        best = best_unit(output, name, one.task, one.digest, distilled)
        for digest, _ in units_in(output, name, one.task, one.digest, distilled):
            if digest != best:
                finished.model(digest).unlink(missing_ok=True)
