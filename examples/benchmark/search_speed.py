#!/usr/bin/env python3
"""Candidates per second of the search's evaluator, against two yardsticks, timed in turn (A B C A B C).

`fairseq-validate`: the code path of that command, called once for each candidate in this process, with the
architecture pinned; it loads the checkpoint and the data each time, as a loop around the command would.
`forward only`: the extracted subnets themselves on the evaluator's batches, without any loss; extraction is
not timed. Weights are random and the data is generated: neither changes what is computed. With `--path` and
`--data`, a trained supernet, the evaluator is also timed as random search uses it, with racing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--path", help="trained supernet, instead of one with random weights; needs --data")
    parser.add_argument("--data", help="folder that fairseq-preprocess wrote, for --path")
    parser.add_argument("--search-space", default="multi30k", help="search space")
    parser.add_argument("--routing", default="neuron", help="routing")
    parser.add_argument("--words", type=ranges.COUNT, default=4000, help="words of the generated data")
    parser.add_argument("--sentences", type=ranges.COUNT, default=1000, help="sentences of the validation set")
    parser.add_argument("--max-tokens", type=ranges.TOKENS, default=4096, help="tokens of a batch")
    parser.add_argument("--runs", type=ranges.COUNT, default=7, help="candidates, each timed in all three ways")
    parser.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads")
    parser.add_argument("--json", help="also write the results to this file")
    return parser.parse_args()


def write_data(folder: Path, words: int, sentences: int) -> Path:
    """Writes and binarises generated sentences of 5 to 25 words."""
    rng = random.Random(1)
    for split, count in (("train", 2 * words // 10), ("valid", sentences)):
        for side in "ab":
            lines = (" ".join(f"w{rng.randrange(words)}" for _ in range(rng.randint(5, 25))) for _ in range(count))
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    (folder / "dict.txt").write_text("".join(f"w{index} 1\n" for index in range(words)))
    command = ["fairseq-preprocess", "-s", "a", "-t", "b", "--destdir", str(folder / "bin"), "--joined-dictionary"]
    command += ["--srcdict", str(folder / "dict.txt")]
    command += ["--trainpref", str(folder / "train"), "--validpref", str(folder / "valid")]
    call("fairseq_cli.preprocess", command)
    return folder / "bin"


def write_supernet(folder: Path, data: Path, args: argparse.Namespace) -> Path:
    """Trains for one update, which is the simplest way to a whole checkpoint."""
    command = ["fairseq-train", str(data), "--user-dir", str(ROOT / "fairseq_mos")]
    command += ["--task", "supernet_translation", "--arch", "mos_transformer", "--search-space", args.search_space]
    command += ["--routing", args.routing, "--share-all-embeddings", "--max-update", "1", "--max-tokens", "512"]
    command += ["--criterion", "supernet_label_smoothed_cross_entropy", "--label-smoothing", "0.1", "--cpu"]
    command += ["--optimizer", "adam", "--lr", "1e-4", "--disable-validation", "--save-dir", str(folder / "supernet")]
    call("fairseq_cli.train", command)
    return folder / "supernet" / "checkpoint_last.pt"


def call(module: str, command: list[str]) -> None:
    """Runs one of fairseq's commands in this process, silently."""
    import importlib

    before, sys.argv = sys.argv, command
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(module).cli_main()
    finally:
        sys.argv = before


def main() -> None:
    """Times every candidate in all three ways."""
    args = parse_args()
    import torch

    import fairseq_mos

    fairseq_mos.register()
    torch.set_num_threads(args.threads)
    logging.disable(logging.CRITICAL)
    from fairseq_mos.families.translation.evaluator import TranslationEvaluator
    from fairseq_mos.files import atomic_write
    from fairseq_mos.version import __version__

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(args.data) if args.path else write_data(folder, args.words, args.sentences)
        path = Path(args.path) if args.path else write_supernet(folder, data, args)
        evaluator = TranslationEvaluator(str(path), str(data), max_tokens=args.max_tokens, cpu=True)
        rng = random.Random(2)
        candidates = [evaluator.space.sample(rng) for _ in range(args.runs + 1)]

        def validate(arch) -> None:
            arch.save(folder / "arch.yaml")
            command = ["fairseq-validate", str(data), "--user-dir", str(ROOT / "fairseq_mos")]
            command += ["--task", "supernet_translation", "--architecture", str(folder / "arch.yaml")]
            command += ["--path", str(path), "--max-tokens", str(args.max_tokens), "--cpu", "--num-workers", "0"]
            call("fairseq_cli.validate", command)

        @torch.no_grad()
        def forward(model) -> None:
            for batch in evaluator.batches:
                model(**batch["net_input"])

        seconds: dict[str, list[float]] = {"evaluator": [], "fairseq-validate": [], "forward only": []}
        if args.path:
            seconds["evaluator, racing"] = []
        best, best_loss, raced = candidates[0], math.inf, 0
        for number, arch in enumerate(candidates):
            subnet = evaluator.model.extract(arch)
            # Another architecture in between: the evaluator should have nothing left of this one.
            evaluator.model.activate(evaluator.space.smallest())
            ways = (
                lambda arch=arch: evaluator.evaluate(arch),
                lambda arch=arch: validate(arch),
                lambda subnet=subnet: forward(subnet),
            )
            for way, found in zip(ways, seconds.values()):
                start = time.perf_counter()
                way()
                if number:  # the first candidate warms up
                    found.append(time.perf_counter() - start)
            if args.path and number:
                evaluator.model.activate(evaluator.space.smallest())
                start = time.perf_counter()
                values = evaluator.race(arch, best)
                seconds["evaluator, racing"].append(time.perf_counter() - start)
                raced += int(values["raced"])
            loss = evaluator.evaluate(arch)["loss"]
            if loss < best_loss:
                best, best_loss = arch, loss
    report = {
        "sizes": {key: value for key, value in vars(args).items() if key != "json"},
        "device": f"cpu ({platform.machine()}), {args.threads} threads, fp32",
        "torch": torch.__version__,
        "fairseq_mos": __version__,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "times_fairseq_validate": ratio(seconds["fairseq-validate"], seconds["evaluator"]),
        "share_of_forward_throughput": ratio(seconds["forward only"], seconds["evaluator"]),
    }
    if args.path:
        # Whole sums: few long evaluations and many short ones make a search's throughput.
        throughput = sum(seconds["fairseq-validate"]) / sum(seconds["evaluator, racing"])
        report["times_fairseq_validate_racing"] = {"throughput": throughput, "stopped_early": raced}
    for name, value in report["seconds"].items():
        print(f"{name:>17}: {value:.3f} s per candidate (median of {args.runs})")
    for name, bar in (("times_fairseq_validate", 3.0), ("share_of_forward_throughput", 0.9)):
        found = report[name]
        print(f"without racing, {name}: {found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f}; bar {bar})")
    if args.path:
        print(f"with racing, as a search evaluates, in all: {throughput:.2f} times fairseq-validate (bar 3.0; ", end="")
        print(f"{raced} of {args.runs} stopped early)")
    if args.json:
        with atomic_write(args.json) as stream:
            json.dump(report, stream, indent=2)


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Returns median and ends of the ratio of paired timings: above 1, ours is faster."""
    ratios = [a / b for a, b in zip(theirs, ours)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


if __name__ == "__main__":
    main()
