#!/usr/bin/env python3
"""Does a search's winner depend on what else the machine does? Repeats its confirmation beside a busy process.

    python examples/benchmark/confirmation.py --threads 1 --output FOLDER

Ten subnets of the tiny space with random weights, whose latencies are measured without that process; their losses
fall as the latencies grow, and the limit lies 1.6 % above the slowest one, which should win: as in a search whose
predictor is exact. Then a process computes and pauses, each for half a second to five seconds, while winners are
confirmed in two ways, in turn: by the clock alone (the lowest median of three counts) and relative to the reference.
The same command continues where it was stopped.
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
"""The limit by the best candidate's latency: 25.4 ms by 25.0 ms, as in a search that went wrong."""

CANDIDATES = 10

def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="folder to write; given again, it is continued")
    parser.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads of the models (default: 1)")
    parser.add_argument("--repetitions", type=ranges.COUNT, default=10, help="confirmations of each kind (default: 10)")
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


def ladder(space) -> list:
    """Returns architectures with 40 to 70 % of the largest's FLOPs, evenly spaced."""
    from fairseq_mos.families.translation.costs import flops

    rng = random.Random("candidates")
    drawn = [space.sample(rng) for _ in range(2000)]
    wanted = [(0.4 + 0.3 * place / (CANDIDATES - 1)) * flops(space.largest()) for place in range(CANDIDATES)]
    return [min(drawn, key=lambda arch, goal=goal: abs(flops(arch) - goal)) for goal in wanted]


def main() -> None:
    """Measures the candidates, then repeats confirmations of both kinds."""
    args = parse_args()
    import fairseq_mos

    fairseq_mos.register()
    logging.disable(logging.CRITICAL)
    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.cost import subnets
    from fairseq_mos.cost.comparison import compare
    from fairseq_mos.cost.latency import LatencyMeter, LatencySettings
    from fairseq_mos.journal import Journal
    from fairseq_mos.search.archive import Evaluation
    from fairseq_mos.search.confirm import confirm
    from fairseq_mos.search.constraints import Constraint
    from fairseq_mos.search.quantities import QUANTITIES

    source = subnets.of_space(SearchSpace.load("tiny"), 500)
    largest, archs = source.build(source.space.largest()), ladder(source.space)
    meter = LatencyMeter(LatencySettings(threads=args.threads, runs=args.runs))
    signature = {"settings": meter.settings.signature(), "runs": args.runs}

    def by_the_clock(arch) -> dict[str, float]:
        found = min((meter.measure(source.build(arch)) for _ in range(3)), key=lambda latency: latency.median_ms)
        values = {"latency_ms": found.median_ms, "low_ms": found.low_ms, "high_ms": found.high_ms}
        return {**values, "clocked_ms": found.median_ms, "reference_ms": 1.0, "recorded_ms": 1.0}

    with Journal(Path(args.output) / "results.jsonl", signature) as journal:

        def note(row: dict) -> None:
            journal.append(row)
            journal.rows.append(row)
            print(json.dumps(row), flush=True)

        if not journal.rows:
            # The fastest run, in case the machine is not quiet anyway.
            (parts,) = meter.in_turn([largest])
            note({"reference_ms": 1e3 * min(map(sum, zip(*parts)))})
        recorded = journal.rows[0]["reference_ms"]

        def relative(arch) -> dict[str, float]:
            return compare(meter, source.build(arch), largest).values(recorded)

        for place in range(len(journal.rows) - 1, CANDIDATES):
            note({"place": place, "latency_ms": relative(archs[place])["latency_ms"]})
        slower = sorted(journal.rows[1 : CANDIDATES + 1], key=lambda row: row["latency_ms"])
        candidates = [
            Evaluation(index, archs[row["place"]], "listed", {"latency_ms": row["latency_ms"], "loss": 3 - 0.1 * index})
            for index, row in enumerate(slower)
        ]
        limit = Constraint("latency_ms", "<=", SLACK * slower[-1]["latency_ms"])
        ways = {"by the clock": by_the_clock, "relative": relative}
        for number in range(len(journal.rows) - CANDIDATES - 1, args.repetitions):
            row: dict[str, object] = {"load": round(os.getloadavg()[0], 1)}
            with company(number):
                for name, measure in ways.items():
                    with tempfile.TemporaryDirectory() as scratch:
                        found = confirm(
                            candidates, lambda e: (e.values["loss"], e.index), [limit],
                            QUANTITIES["latency_ms"], measure, lambda e: e,
                            Path(scratch) / "measured.jsonl",
                        )  # fmt: skip
                    row[name] = found[-1].evaluation.index if found[-1].holds else None
                    row[f"{name}, ms"] = [round(c.measured, 2) for c in found]
            note(row)
        confirmed = journal.rows[CANDIDATES + 1 :]
        latencies = " ".join(f"{row['latency_ms']:.2f}" for row in slower)
        print(f"candidates: {latencies} ms; limit {limit.limit:.2f} ms")
        for name in ways:
            won = Counter(row[name] for row in confirmed)
            print(f"{name}: the best candidate won {won[CANDIDATES - 1]} of {len(confirmed)} times; all: {dict(won)}")


if __name__ == "__main__":
    main()
