#!/usr/bin/env python3
"""How many candidates of an evolution can be evaluated while fairseq-validate evaluates one?

    python examples/benchmark/search_speed.py --routing shared --candidates 100

One generation of the published evolution (50 mutated and 50 crossed children of 25 parents) is evaluated, each
candidate in all ways before the next one. `fairseq-validate`, the reference, is the code path of that command, called
for each candidate in this process with the architecture pinned; it loads the checkpoint and the data each time, as a
loop around the command would. `one by one` is the evaluator alone, `as a search` the evaluator that was told what
comes, so that candidates share what is equal. `forward only` runs the extracted subnets on the evaluator's batches
without any loss; extraction is not timed. With `--path` and `--data`, a trained supernet, `as a search, racing` is the
search's default.

Earlier generations are scored on a part of the split, which is enough to select. Without `--path` weights are random
and the data is generated: neither changes what is computed. `times` is the reference's sum over this way's: few long
and many short evaluations make a search's throughput.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from alternating import ROOT, machine, ratios, write


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
    parser.add_argument("--generation", type=ranges.COUNT, default=4, help="which generation, from 1")
    parser.add_argument("--candidates", type=ranges.COUNT, default=100, help="of the generation, at most")
    parser.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
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


def evolved(evaluator, generation: int) -> tuple[list, object]:
    """Returns the candidates of a generation, and the worst of their parents, against which they race."""
    from fairseq_mos.search.algorithms import evolution
    from fairseq_mos.search.candidates import Problem
    from fairseq_mos.search.racing import means
    from fairseq_mos.search.settings import Settings

    space, settings, part, known = evaluator.space, Settings(), evaluator.order[:3], {}

    def loss(architecture) -> float:
        evaluator.model.activate(architecture)
        return means([evaluator.batch_loss(evaluator.batches[place]) for place in part])["loss"]

    algorithm = evolution(Problem(space, lambda architecture: 0.0, random.Random(2)), settings)
    batch = next(algorithm)
    for _ in range(generation - 1):
        proposed = [space.from_genes(genes) for _, genes in batch.candidates]
        known.update((architecture, loss(architecture)) for architecture in proposed)
        batch = algorithm.send([(known[architecture],) for architecture in proposed])
    parents = sorted(known, key=known.get)[: settings.parents] or [space.largest()]
    return [space.from_genes(genes) for _, genes in batch.candidates], parents[-1]


def main() -> None:
    """Times every candidate in all ways."""
    args = parse_args()
    import torch

    import fairseq_mos

    fairseq_mos.register()
    torch.set_num_threads(args.threads)
    logging.disable(logging.CRITICAL)
    from fairseq_mos.families.translation.evaluator import TranslationEvaluator

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(args.data) if args.path else write_data(folder, args.words, args.sentences)
        path = Path(args.path) if args.path else write_supernet(folder, data, args)

        def evaluator() -> TranslationEvaluator:
            return TranslationEvaluator(str(path), str(data), max_tokens=args.max_tokens, cpu=True)

        alone, sharing, racing = evaluator(), evaluator(), evaluator()
        with torch.no_grad():
            candidates, incumbent = evolved(alone, args.generation)
        candidates = candidates[: args.candidates]

        def validate(arch) -> None:
            arch.save(folder / "arch.yaml")
            command = ["fairseq-validate", str(data), "--user-dir", str(ROOT / "fairseq_mos")]
            command += ["--task", "supernet_translation", "--architecture", str(folder / "arch.yaml")]
            command += ["--path", str(path), "--max-tokens", str(args.max_tokens), "--cpu", "--num-workers", "0"]
            call("fairseq_cli.validate", command)

        @torch.no_grad()
        def forward(subnet) -> None:
            for batch in alone.batches:
                subnet(**batch["net_input"])

        ways = {"fairseq-validate": validate, "one by one": alone.evaluate, "as a search": sharing.evaluate}
        if args.path:
            ways["as a search, racing"] = lambda arch: racing.race(arch, incumbent)
        # Warm up: code paths and the incumbent.
        for way in ways.values():
            way(incumbent)
        seconds = {name: [] for name in (*ways, "forward only")}
        for told in (sharing, racing):
            begun = time.perf_counter()
            told.expect(candidates)
        telling = (time.perf_counter() - begun) / len(candidates)
        for arch in candidates:
            subnet = evaluator_subnet(alone, arch)
            for name, way in {**ways, "forward only": lambda arch, subnet=subnet: forward(subnet)}.items():
                begun = time.perf_counter()
                way(arch)
                seconds[name].append(time.perf_counter() - begun + telling * name.startswith("as a search"))
        recall = sharing.recall
    rows = ratios(seconds)
    for row in rows:
        row["times"] = sum(seconds["fairseq-validate"]) / sum(seconds[row["contestant"]])
    shared = recall.recalled / max(1, recall.recalled + recall.computed)
    setting = {**machine(args.threads), "recalled": f"{shared:.2f} of the layers' outputs"}
    what = f"generation {args.generation} of an evolution, {args.routing} routing" if not args.path else str(path.name)
    write(args.output, f"search_speed-{args.routing}-{args.threads}", f"A candidate of {what}", rows, setting)


def evaluator_subnet(evaluator, architecture):
    """Extracts a subnet, and leaves the evaluator with nothing of it."""
    subnet = evaluator.model.extract(architecture)
    evaluator.model.activate(evaluator.space.smallest())
    return subnet


if __name__ == "__main__":
    main()
