"""Runs a plan: the units that are missing, then tables and pictures."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable

import msgspec
from pipeline.config import PipelineError
from pipeline.work import Work, duration

from fairseq_mos.arch import SearchSpace
from fairseq_mos.files import check_folder
from reproduce.checking import check_flags
from reproduce.conflicts import conflicts_of, kept_updates
from reproduce.corpus import corpus_digest, prepare, tokens_of
from reproduce.finished import Finished, missing
from reproduce.matched import matched_of
from reproduce.plan import draw, read_plan
from reproduce.retraining import retrained_of
from reproduce.runner import Runner
from reproduce.schedule import work_off
from reproduce.units import Conflict, Job, Retrained, Training, Unit, jobs_of


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


def source_of(unit: Conflict | Retrained) -> Training:
    """Returns the training of the supernet that a unit is about."""
    return unit.source if isinstance(unit, Retrained) else unit.training


def not_gone(runner: Runner, units: Iterable[Unit]) -> list[Unit]:
    """Returns the units that can be done, and says which measurements cannot: their checkpoints are gone."""
    units = list(units)
    gone = [unit for unit in units if isinstance(unit, Conflict) and runner.gone(unit)]
    for unit in gone:
        print(f"skipped: {unit.name}: its checkpoint is gone", flush=True)
    return [unit for unit in units if unit not in gone]


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
    with Work(args.work / "dry-run" if args.dry_run or args.report else args.work, 0) as work:
        data = prepare(plan.corpus, args.work, args.threads)
        architectures = [one for _, one in drawn]
        jobs = jobs_of(plan, architectures, corpus_digest(data))
        retrained = retrained_of(plan, architectures, jobs)
        compared = conflicts_of(plan, architectures, jobs)

        def tokens(training: Training) -> tuple[int, float]:
            size, times = (training.flags.get(name, ["1"])[0] for name in ("--max-tokens", "--update-freq"))
            valid, batch = tokens_of(data, (plan.corpus.source, plan.corpus.target), int(size))
            return valid, batch * int(times)

        dense = matched_of(plan, architectures, jobs, tokens)
        units = [*jobs, *dense, *compared, *retrained]
        runner = Runner(
            Finished(args.results), data, work, args.work / "trainings", args.threads, kept_updates(compared)
        )
        todo = missing(units, runner.finished)
        print(f"{len(units)} units: {len(units) - len(todo)} done, {len(todo)} missing", flush=True)
        todo = todo if args.report else not_gone(runner, todo)
        if not args.report:
            check_flags(args.plan, (unit.training for unit in todo))
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
            rest = [unit for unit in todo if not isinstance(unit, Job) and source_of(unit).digest not in sources]
            # Where an epoch ended, fairseq kept no checkpoint of that update.
            lost += work_off(not_gone(runner, rest), where, runner.do, runner.failed)
    from reproduce.results import write_results

    folder, name = args.results / args.plan.stem, args.plan.stem
    page = write_results(folder, name, plan, drawn, jobs, runner.finished, retrained, compared, dense)
    print(f"results: {page}; elapsed: {duration(time.monotonic() - begin)}", flush=True)
    if lost:
        names = ", ".join(unit.name for unit in lost)
        raise PipelineError(f"{len(lost)} of {len(units)} units failed: {names}; logs: {args.work}/trainings", 1)
