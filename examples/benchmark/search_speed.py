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
import random
import tempfile
import time
from pathlib import Path

from alternating import ROOT, begin, machine, ratios, write
from networks import call, write_data, write_supernet


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

    begin(args.threads)
    from fairseq_mos.families.translation.evaluator import TranslationEvaluator

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(args.data) if args.path else write_data(folder, args.words, args.sentences)
        path = Path(args.path) if args.path else write_supernet(folder, data, args.search_space, args.routing)

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
