#!/usr/bin/env python3
"""Does a search's winner depend on what else the machine does? Repeats its confirmation beside a busy process.

    python examples/benchmark/confirmation.py --threads 1 --output FOLDER

Subnets of the tiny space with random weights, a latency data set measured without that process (in turn with the
largest, in case the machine is not quiet anyway), a predictor fitted to it, and losses that fall as the predicted
latency grows, so that the best one is near the limit: as in a search. Then a process computes and pauses, each for
half a second to five seconds, while winners are confirmed in two ways, in turn: by the clock alone (the lowest median
of three counts) and relative to the data set's reference. The same command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SLACK = 1.016
"""The limit by the winner's latency: 25.4 ms by 25.0 ms, as in a search that went wrong."""

STEP = 1.04
"""Each candidate is predicted to be slower than the one before by as much, and has a smaller loss."""


LARGEST_MS = 24.0
"""Latency of the largest architecture in the data set: about that of a quiet AMD EPYC, one thread."""


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="folder to write; given again, it is continued")
    parser.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads of the models (default: 1)")
    parser.add_argument("--repetitions", type=ranges.COUNT, default=10, help="confirmations of each kind (default: 10)")
    parser.add_argument("--samples", type=ranges.COUNT, default=40, help="architectures of the data set (default: 40)")
    parser.add_argument("--runs", type=ranges.COUNT, default=100, help="timed runs of a confirmation (default: 100)")
    return parser.parse_args()


def work_now_and_then(seed: int) -> None:
    """Keeps a core busy, and pauses, for random times; ends with its parent."""
    rng, parent = random.Random(seed), os.getppid()
    while os.getppid() == parent:
        end = time.monotonic() + rng.uniform(0.5, 5)
        while time.monotonic() < end:
            pass
        time.sleep(rng.uniform(0.5, 5))


@contextmanager
def company(seed: int) -> Iterator[None]:
    """Runs :func:`work_now_and_then` beside the block."""
    process = multiprocessing.get_context("spawn").Process(target=work_now_and_then, args=(seed,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def ladder(predictor, end: float) -> list:
    """Returns architectures whose predicted latencies rise by :data:`STEP`, the last one near `end` milliseconds."""
    rng = random.Random("candidates")
    drawn = list({predictor.space.sample(rng) for _ in range(2000)})
    latencies = dict(zip(drawn, predictor.predict(drawn)))
    wanted = [end / STEP**place for place in range(10)][::-1]
    return [min(drawn, key=lambda arch, goal=goal: (abs(latencies[arch] - goal), arch.digest())) for goal in wanted]


def main() -> None:
    """Measures the data set, then repeats confirmations of both kinds."""
    args = parse_args()
    import fairseq_mos

    fairseq_mos.register()
    logging.disable(logging.CRITICAL)
    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.cost import subnets
    from fairseq_mos.cost.comparison import compare
    from fairseq_mos.cost.dataset import measure_dataset
    from fairseq_mos.cost.fitting import fit_file
    from fairseq_mos.cost.latency import LatencyMeter, LatencySettings
    from fairseq_mos.cost.predictor import LatencyPredictor
    from fairseq_mos.journal import Journal
    from fairseq_mos.search.archive import Evaluation
    from fairseq_mos.search.confirm import confirm
    from fairseq_mos.search.constraints import Constraint

    folder = Path(args.output)
    source = subnets.of_space(SearchSpace.load("tiny"), 500)

    def ratio(arch, runs: int) -> float:
        meter = LatencyMeter(LatencySettings(threads=args.threads, warmup=1, runs=runs))
        return compare(meter, source.build(arch), source.build(source.space.largest())).ratio

    meter = LatencyMeter(LatencySettings(threads=args.threads, runs=args.runs))
    data = measure_dataset(
        source.space, args.samples, 1, meter.settings.signature(),
        lambda arch: {"median_ms": LARGEST_MS * ratio(arch, 20)}, folder / "latency.jsonl",
    )  # fmt: skip
    report = fit_file(str(folder / "latency.jsonl"), str(folder / "predictor.json"), "linear")
    predictor = LatencyPredictor.load(folder / "predictor.json")
    reference = predictor.reference()
    print(f"{report.errors}; noise {data.noise():.1%}, drift {data.drift():+.1%}", flush=True)

    candidates = ladder(predictor, 0.75 * reference.milliseconds)
    predicted = predictor.predict(candidates)
    evaluations = [
        Evaluation(index, arch, "listed", {"latency_ms": latency, "loss": 3.0 - 0.03 * index})
        for index, (arch, latency) in enumerate(zip(candidates, predicted))
    ]

    def by_the_clock(arch) -> dict[str, float]:
        found = min((meter.measure(source.build(arch)) for _ in range(3)), key=lambda latency: latency.median_ms)
        values = {"latency_ms": found.median_ms, "low_ms": found.low_ms, "high_ms": found.high_ms}
        return {**values, "clocked_ms": found.median_ms, "reference_ms": 1.0, "recorded_ms": 1.0}

    def relative(arch) -> dict[str, float]:
        found = compare(meter, source.build(arch), source.build(reference.architecture))
        return found.values(reference.milliseconds)

    ways = {"by the clock": by_the_clock, "relative to the reference": relative}
    with Journal(folder / "results.jsonl", {"settings": meter.settings.signature(), "runs": args.runs}) as journal:

        def note(row: dict) -> None:
            journal.append(row)
            journal.rows.append(row)

        if not journal.rows:
            note({"quiet_ms": LARGEST_MS * ratio(candidates[-1], args.runs)})
        quiet = journal.rows[0]["quiet_ms"]
        # The candidate keeps the limit, whatever the predictor's error is: the question is what disturbs that.
        limit = Constraint("latency_ms", "<=", SLACK * max(predicted[-1], quiet))
        print(f"reference {reference.milliseconds:.2f} ms; the best candidate is predicted as {predicted[-1]:.2f} ms, "
              f"{quiet:.2f} ms without company; limit {limit.limit:.2f} ms", flush=True)  # fmt: skip
        for number in range(len(journal.rows) - 1, args.repetitions):
            row: dict[str, object] = {"load": os.getloadavg()[0]}
            with company(number):
                for name, measure in ways.items():
                    with tempfile.TemporaryDirectory() as scratch:
                        found = confirm(
                            evaluations, lambda e: (e.values["loss"], e.index), [limit], measure, lambda e: e,
                            Path(scratch) / "measured.jsonl", tries=4,
                        )  # fmt: skip
                    row[name] = found[-1].evaluation.index if found[-1].holds else None
                    row[f"{name}, ms"] = [round(c.measured, 2) for c in found]
            note(row)
            print(json.dumps(row), flush=True)
        best = len(candidates) - 1
        for name in ways:
            won = Counter(row[name] for row in journal.rows[1:])
            print(f"{name}: the best candidate won {won[best]} of {len(journal.rows) - 1} times; all: {dict(won)}")


if __name__ == "__main__":
    main()
