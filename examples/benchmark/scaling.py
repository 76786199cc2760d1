#!/usr/bin/env python3
"""How much faster do two processes train than one, and what is to be expected of 8 and 64 GPUs?

    python examples/benchmark/scaling.py

Measured: fairseq-train with one process and with two (`examples/launch_cpu.sh`, one core each, gloo), in turn; each
process has batches of `--max-tokens`, so two train twice as much an update. Seconds are the clock's for 1,000 target
words, from the speed that fairseq logs after some updates that do not count.

Calculated, for a supernet of WMT sizes in fp16: an update is `--update-freq` micro-batches of three architectures on
each GPU, and then one all-reduce of all gradients in a ring, which `legacy_ddp` makes after the backward passes. What
it takes besides is left out; speeds of GPU and links are the flags.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from alternating import ROOT, begin, machine, ratios, write
from networks import SETTINGS, made_up_task, supernet_model, training, write_data

UPDATES = 12
"""Updates that are measured, after as many that are not."""


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    shown = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=shown)
    add = parser.add_argument
    add("--search-space", default="multi30k", help="search space of the measured training")
    add("--routing", nargs="+", default=["shared", "neuron"], help="routings of the measured trainings")
    add("--max-tokens", type=ranges.TOKENS, default=1000, help="tokens of a process's batch")
    add("--runs", type=ranges.COUNT, default=3, help="trainings of each kind")
    add("--tflops", type=float, default=50.0, help="TFLOP/s that a GPU sustains in training, for what is calculated")
    add("--inside", type=float, default=200.0, help="GB/s of a GPU's links within a machine of 8")
    add("--across", type=float, default=10.0, help="GB/s for each machine's link to the others")
    add("--gpu-tokens", type=ranges.TOKENS, default=4096, help="tokens of a GPU's micro-batch")
    add("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    return parser.parse_args()


def seconds_of(ranks: int, data: Path, routing: str, args: argparse.Namespace) -> float:
    """Trains, and returns the seconds for 1,000 target words."""
    command = ["bash", str(ROOT / "examples" / "launch_cpu.sh"), str(ranks), "fairseq-train", str(data)]
    command += [*training(args.search_space, routing), "--no-save", "--max-tokens", str(args.max_tokens)]
    command += ["--max-update", str(2 * UPDATES), "--log-format", "json", "--log-interval", str(UPDATES)]
    # A core each, or one process would have two.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}\nscaling.py: error: the training above failed")
    # Of an interval's updates alone, and not rounded to whole seconds as its times are.
    logs = (json.loads(line[line.index("{") :]) for line in done.stdout.splitlines() if '"num_updates"' in line)
    speeds = {int(log["num_updates"]): float(log["wps"]) for log in logs if "wps" in log}
    return 1000 / speeds[2 * UPDATES]


def expected(args: argparse.Namespace) -> list[dict]:
    """Calculates the time of an update's parts, and the efficiency, for each routing of a WMT supernet."""
    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.families import family_of

    space = SearchSpace.load("wmt")
    task, flops = made_up_task(SETTINGS["wmt"]), family_of(space).flops
    # Forward and backward of the three, by sentences of 30 tokens; the output layer is the largest product.
    middle = (flops(space.largest()) + flops(space.smallest())) / 2
    output = 2 * 30 * SETTINGS["wmt"]["vocabulary"] * space.largest().to_dict()["decoder"]["embed_dim"]
    work = 3 * (flops(space.largest()) + flops(space.smallest()) + middle + 3 * output) / 30
    rows = []
    for routing in ("shared", "neuron"):
        numbers = sum(p.numel() for p in supernet_model(routing, space, task, 0.1, 2).parameters())
        for gpus, frequency in ((8, 16), (8, 1), (64, 2), (64, 1)):
            compute = frequency * args.gpu_tokens * work / (args.tflops * 1e12)
            machines = gpus // 8
            # A ring within each machine, and one among the machines, of 2 bytes a number.
            reduce = 2 * 2 * numbers * (7 / 8 / args.inside + (machines - 1) / machines / args.across) / 1e9
            rows.append(
                {
                    "routing": routing,
                    "GPUs": gpus,
                    "micro-batches": frequency,
                    "gradients, MB": round(2 * numbers / 1e6),
                    "computing, s": compute,
                    "all-reduce, s": reduce,
                    "efficiency": compute / (compute + reduce),
                }
            )
    return rows


def main() -> None:
    """Measures and calculates."""
    args = parse_args()
    begin(threads=1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        data = write_data(Path(name), 4000, 100)
        for routing in args.routing:
            seconds = {"one process": [], "two processes": []}
            for _ in range(args.runs):
                for ranks, measured in enumerate(seconds.values(), start=1):
                    measured.append(seconds_of(ranks, data, routing, args))
            (row,) = ratios(seconds)
            pairs = [one / two for one, two in zip(*seconds.values())]
            rows.append({"routing": routing, **row, "times as much an hour": statistics.median(pairs)})
    setting = {**machine(1), "tokens of a process": args.max_tokens}
    write(args.output, "scaling", f"1,000 words, space {args.search_space}: two processes and one", rows, setting)
    about = {"TFLOP/s": args.tflops, "GB/s inside": args.inside, "GB/s across": args.across, "tokens": args.gpu_tokens}
    write(args.output, "scaling-expected", "An update of a WMT supernet in fp16, calculated", expected(args), about)


if __name__ == "__main__":
    main()
