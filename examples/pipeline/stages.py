"""The stages of an example, in order; each step is skipped when it is done already."""

from __future__ import annotations

import argparse
import time

from pipeline import building, comparing
from pipeline.config import Config, PipelineError
from pipeline.layout import Run
from pipeline.results import report
from pipeline.work import duration


def run_stages(config: Config, args: argparse.Namespace) -> Run:
    """Runs all stages that are not done yet and reports.

    Raises:
        PipelineError: bad input, a command failed, or the supernet and an extracted subnet do not translate
            alike.
    """
    run = Run(config, args)
    with run.work:
        _do(run)
    return run


def _do(run: Run) -> None:
    config, args, work = run.config, run.args, run.work
    about = config.about.get
    with work.log("run").open("a", encoding="utf-8") as log:
        # What a report tells its readers to type.
        log.write(f"$ {args.command}\n")
    print(f"{config.title}\nWorking in {run.folder}", flush=True)
    with work.stage("check and normalise the corpus" if args.data else "compose the corpus"):
        building.prepare_corpus(run)
    with work.stage("train the sentencepiece vocabulary"):
        building.make_vocabulary(run)
    with work.stage("encode and binarise"):
        building.binarise(run)
    with work.stage("train the supernet", about("train")):
        building.train(run, "supernet")
    if config.stock:
        with work.stage("train the stock transformer", about("stock")):
            building.train(run, "stock")
    with work.stage(f"measure the latency of {args.latency_samples} subnets on this machine", about("latency")):
        comparing.measure_latency(run)
    with work.stage("search under a latency limit", about("search")):
        comparing.search(run)
    with work.stage("extract the largest, the smallest and the found subnet"):
        comparing.extract(run)
    if args.retrain_updates:
        with work.stage("train the found subnet from scratch, and retrain it", about("retrain")):
            building.train(run, "scratch")
            building.train(run, "retrained")
    with work.stage("measure valid loss and latency of every system"):
        comparing.validate(run)
        comparing.profile(run)
    with work.stage("translate the test set", about("translate")):
        comparing.translate(run, pinned=False)
    with work.stage(f"translate with the supernet pinned to: {', '.join(config.pinned)}"):
        comparing.translate(run, pinned=True)
    with work.stage("score"):
        work.announce()
        comparing.score(run)
        unlike = comparing.differences(run)
        report(run, unlike)
        comparing.write_page(run)
    print(f"elapsed: {duration(time.monotonic() - work.begin)}", flush=True)
    for name, indices in unlike.items():
        if indices:
            raise PipelineError(
                f"the supernet with {name} pinned and the extracted subnet translate {len(indices)} of the "
                f"{run.sentences()} test sentences differently, first in line {indices[0] + 1}: "
                f"{run.translation(name)} and {run.translation(name, pinned=True)}",
                1,
            )
