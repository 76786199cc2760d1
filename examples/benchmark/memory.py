#!/usr/bin/env python3
"""How much memory does an update of a supernet need beside a dense network of its largest subnet's sizes?

    python examples/benchmark/memory.py --setting wmt --tokens 3000

Each contestant trains in a process of its own with Adam: the dense network, fairseq's own transformer, which adds up
the gradients of three batches (`--update-freq 3`), and supernets with a whole sandwich update of three architectures. A
row says what the dense network takes with one batch an update, where no gradient is there before the backward pass.
`beyond` takes off what the supernet's further parameters, their gradients and their optimiser states need, so that
activations and copies are compared. Large blocks are given back when they are freed, unlike in a training, so that what
is measured is tensors and not how they lie in the heap.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from alternating import machine, write
from networks import (
    CONTESTANTS,
    SETTINGS,
    SUBNETS,
    architectures,
    made_up_task,
    search_space,
    stock_model,
    supernet_model,
)

MEBI = 2**20
DISTILLED = {"distilled": False, "distilled, features": True}
"""Plain sharing whose others learn from the largest's predictions -> `--distillation-features`; its own criterion."""
PASSES = {"dense": len(SUBNETS), "dense, one batch": 1}
"""The dense network -> batches of an update."""


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--setting", choices=SETTINGS, default="wmt", help="sizes: WMT's of HAT, or small ones")
    every = [*CONTESTANTS, *DISTILLED]
    add("--contestants", nargs="+", choices=every, default=every, help="supernets")
    add("--num-experts", type=ranges.COUNT, nargs="+", default=[2, 6], help="experts")
    add("--tokens", type=ranges.COUNT, default=3000, help="tokens of a side of the batch, 30 a sentence")
    add("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    add("--one", help=argparse.SUPPRESS)  # a contestant in a process of its own
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict:
    """Trains one contestant for two updates: its peak memory, and the bytes of its parameters."""
    import torch
    from torch.nn import functional as F

    import fairseq_mos
    from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
    from fairseq_mos.modules.in_place import gradients_in_place

    fairseq_mos.register()
    torch.set_num_threads(1)
    setting = SETTINGS[args.setting]
    task, space = made_up_task(setting), search_space(setting)
    if args.one in PASSES:
        model, trained = stock_model(setting, setting["sizes"][0], task, 0.1), [None] * PASSES[args.one]
    else:
        routing = "shared" if args.one in DISTILLED else args.one
        model = supernet_model(routing, space, task, 0.1, args.num_experts[0])
        known = architectures(space, setting)
        trained = [known[name] for name in SUBNETS]
    optimizer = torch.optim.Adam(model.train().parameters(), foreach=False)
    tokens = torch.randint(4, setting["vocabulary"], (max(1, args.tokens // 30), 30))
    lengths = torch.full((len(tokens),), 30)
    sample = {
        "net_input": {"src_tokens": tokens, "src_lengths": lengths, "prev_output_tokens": tokens},
        "target": tokens,
        "ntokens": tokens.numel(),
    }
    criterion = None
    if args.one in DISTILLED:
        criterion = SupernetLabelSmoothedCrossEntropy(
            task, False, 0.1, inplace_distillation=1.0, distillation_features=DISTILLED[args.one]
        )

    def loss(teacher):
        if criterion is not None:
            return criterion(model, sample, teacher=teacher, keep_teacher=teacher is None)[0]
        logits, _ = model(**sample["net_input"])
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    for _ in range(2):
        optimizer.zero_grad()
        teacher = None
        for architecture in trained:
            if architecture is not None:
                model.activate(architecture)
            with gradients_in_place():
                loss(teacher).backward()
            teacher = criterion.release_teacher() if criterion is not None and teacher is None else teacher
        optimizer.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "parameters": sum(p.numel() * p.element_size() for p in model.parameters())}


def main() -> None:
    """Compares the contestants."""
    args = parse_args()
    if args.one:
        print(json.dumps(measure(args)))
        return

    # Set by anyone, it is not changed by the plugin.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}

    def ask(name: str, experts: int) -> dict:
        command = [sys.executable, __file__, "--one", name, "--setting", args.setting, "--tokens", str(args.tokens)]
        command += ["--num-experts", str(experts)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    stock, rows = ask("dense", 1), []
    for name in ("dense, one batch", *args.contestants):
        several = name in CONTESTANTS and CONTESTANTS[name]["routing"] != "shared"
        for experts in args.num_experts if several else [1]:
            ours = ask(name, experts)
            # Weights, gradients and Adam's two moments.
            extra = 4 * (ours["parameters"] - stock["parameters"])
            rows.append(
                {
                    "contestant": name,
                    "experts": experts,
                    "parameters, MiB": round(ours["parameters"] / MEBI),
                    "peak, MiB": round(ours["peak"] / MEBI),
                    "dense network's peak, MiB": round(stock["peak"] / MEBI),
                    "beyond": (ours["peak"] - extra) / stock["peak"],
                }
            )
    question = f"Peak memory of an update, {args.tokens // 30 * 30} tokens a side, sizes {args.setting}"
    write(args.output, f"memory-{args.setting}-{args.tokens}", question, rows, machine(1))


if __name__ == "__main__":
    main()
