#!/usr/bin/env python3
"""What does it cost to change the architecture of a supernet?

    python examples/benchmark/activate.py --search-space wmt

`activate` is the change alone: sizes, encoding, and forgetting what was kept of other sizes. `activate and mix` also
slices and mixes all weights that the architecture uses, which eval mode does once for each. Random architectures follow
each other. The reference is the change alone without experts.
"""

from __future__ import annotations

import argparse
import itertools
import random
from pathlib import Path

from alternating import alternate, begin, machine, ratios, write
from networks import made_up_task, supernet_model

ROUTINGS = ("shared", "layer", "neuron")


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    shown = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=shown)
    add = parser.add_argument
    add("--search-space", default="wmt", help="search space")
    add("--vocabulary", type=ranges.COUNT, default=1000, help="entries of the vocabulary")
    add("--runs", type=ranges.COUNT, default=40, help="counted changes, after one uncounted")
    add("--threads", type=ranges.THREADS, default=1, help="CPU threads")
    add("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    return parser.parse_args()


def main() -> None:
    """Times the contestants."""
    args = parse_args()
    import torch

    from fairseq_mos.arch import SearchSpace

    begin(args.threads)
    space, task = SearchSpace.load(args.search_space), made_up_task({"vocabulary": args.vocabulary})
    rng = random.Random(1)
    drawn = [space.sample(rng) for _ in range(101)]

    @torch.no_grad()
    def change(model, archs, mixed: bool) -> None:
        model.activate(next(archs))
        for _ in model.dense() if mixed else ():
            pass

    contestants = {}
    for mixed in (False, True):
        for routing in ROUTINGS:
            model, archs = supernet_model(routing, space, task, 0.0, 2).eval(), itertools.cycle(drawn)
            name = f"activate{' and mix' if mixed else ''}, {routing}"
            contestants[name] = lambda model=model, archs=archs, mixed=mixed: change(model, archs, mixed)
    rows = ratios(alternate(contestants, args.runs, args.threads))
    first = {**rows[0], "contestant": rows[0]["reference"], "ratio": 1.0, "low": 1.0, "high": 1.0}
    first["seconds"] = first["reference_seconds"]
    shown = [
        {"contestant": row["contestant"], "reference": row["reference"], "ratio": row["ratio"], "low": row["low"],
         "high": row["high"], "milliseconds": 1000 * row["seconds"], "rounds": row["rounds"]}
        for row in (first, *rows)
    ]  # fmt: skip
    question = f"Changing the architecture, space {args.search_space}, {args.vocabulary} entries"
    write(args.output, f"activate-{args.search_space}-{args.threads}", question, shown, machine(args.threads))


if __name__ == "__main__":
    main()
