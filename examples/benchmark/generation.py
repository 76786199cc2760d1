#!/usr/bin/env python3
"""How fast does an extracted subnet translate, against fairseq's own transformer of the same dimensions?

    python examples/benchmark/generation.py --beam 5 --path checkpoint_best.pt --data data-bin --gen-subset test

All contestants have the same weights, so they do the same search: fairseq's `transformer`, the extracted subnet, and
the supernet with the architecture pinned. Each translates the same batches as `fairseq-generate` does, by the task's
generator and inference step. Without `--path` weights are random and sentences made up; as random weights would go on
to the longest length or stop at once, a sentence ends by `--min-len` and `--max-len-b` alone. Ratios are sentences per
second, above 1 the contestant is faster than the reference; the last column counts sentences that differ from the
reference's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace

from alternating import alternate, begin, machine, ratios, write
from networks import write_data, write_supernet


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    shown = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=shown)
    add = parser.add_argument
    add("--path", help="trained supernet, instead of one with random weights; needs --data")
    add("--data", help="folder that fairseq-preprocess wrote, for --path")
    add("--gen-subset", default="valid", help="split that is translated")
    add("--architecture", default="largest", help="architecture; stock fairseq has to be able to express it")
    add("--search-space", default="multi30k", help="search space, without --path")
    add("--routing", default="neuron", help="routing, without --path")
    add("--words", type=ranges.COUNT, default=8000, help="words of the made-up data")
    add("--sentences", type=ranges.COUNT, default=128, help="sentences that a round translates")
    add("--max-tokens", type=ranges.TOKENS, default=12000, help="source tokens of a batch")
    add("--batch-size", type=ranges.COUNT, help="sentences of a batch")
    add("--beam", type=ranges.COUNT, nargs="+", default=[4, 5], help="beam widths, one after the other")
    add("--lenpen", type=float, default=1.0, help="length penalty")
    add("--max-len-a", type=float, help="longest translation: this times the source's (default: 0; with --path 1.2)")
    add("--max-len-b", type=int, default=20, help="plus this")
    add("--min-len", type=int, help="shortest translation (default: 10; with --path 1)")
    add("--runs", type=ranges.COUNT, default=9, help="counted rounds, after one uncounted")
    add("--threads", type=ranges.THREADS, default=1, help="CPU threads")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where")
    add("--fp16", action="store_true", help="half precision")
    add("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    args = parser.parse_args()
    if bool(args.path) != bool(args.data):
        parser.error("--path and --data need each other")
    args.max_len_a = args.max_len_a if args.max_len_a is not None else (1.2 if args.path else 0.0)
    args.min_len = args.min_len if args.min_len is not None else (1 if args.path else 10)
    return args


def contestants(path: str, data: Path, architecture: str) -> dict:
    """Returns the models by name, the reference first: they have the same weights."""
    from fairseq_mos.families.translation.stock import to_stock
    from fairseq_mos.models.opening import open_model

    opened = open_model(path, str(data))
    # Extraction leaves the supernet with the architecture active.
    bundle = opened.bundle(architecture)
    return {"stock transformer": to_stock(bundle).model, "subnet": bundle.model, "supernet, pinned": opened.model}


def batches(args: argparse.Namespace, data: Path):
    """Returns fairseq's translation task and the batches, made as `fairseq-generate` makes them."""
    import torch
    from fairseq.tasks.translation import TranslationConfig, TranslationTask
    from fairseq.utils import move_to_cuda

    options = {"dataset_impl": "mmap", "train_subset": "train", "required_seq_len_multiple": 1}
    task = TranslationTask.setup_task(TranslationConfig(data=str(data), **options))
    task.load_dataset(args.gen_subset)
    dataset = task.dataset(args.gen_subset)
    # As many as wanted, of all lengths, the shortest first.
    chosen = torch.linspace(0, len(dataset) - 1, min(args.sentences, len(dataset))).long().tolist()
    made: list[list] = [[]]
    for index in sorted(chosen, key=dataset.src_sizes.__getitem__):
        if (len(made[-1]) + 1) * dataset.src_sizes[index] > args.max_tokens or len(made[-1]) == args.batch_size:
            made.append([])
        made[-1].append(dataset[index])
    samples = map(dataset.collater, made)
    return task, [move_to_cuda(sample) if args.device == "cuda" else sample for sample in samples]


def translator(task, model, cfg, samples: list, name: str, found: dict[str, list]):
    """Returns a function that translates the batches and puts the best hypotheses into `found[name]`."""
    model.prepare_for_inference_(SimpleNamespace(generation=cfg))
    generator = task.build_generator([model], cfg)

    def translate() -> None:
        hypotheses = (task.inference_step(generator, [model], sample) for sample in samples)
        found[name] = [best[0]["tokens"].tolist() for batch in hypotheses for best in batch]

    return translate


def measure(args: argparse.Namespace, folder: Path) -> list[dict]:
    """Times all contestants at every beam width; a row each."""
    from fairseq.dataclass.configs import GenerationConfig

    data = Path(args.data) if args.path else write_data(folder, args.words, 4 * args.sentences)
    path = args.path or str(write_supernet(folder, data, args.search_space, args.routing))
    models = contestants(path, data, args.architecture)
    task, samples = batches(args, data)
    for model in models.values():
        model.to(args.device)
        if args.fp16:
            model.half()
    rows = []
    for beam in args.beam:
        options = {"beam": beam, "lenpen": args.lenpen, "min_len": args.min_len}
        cfg = GenerationConfig(max_len_a=args.max_len_a, max_len_b=args.max_len_b, **options)
        found: dict[str, list] = {}
        ways = {name: translator(task, model, cfg, samples, name, found) for name, model in models.items()}
        timed = alternate(ways, args.runs, args.threads)
        reference, *_ = found.values()
        compared = [*ratios(timed), *ratios({name: timed[name] for name in list(timed)[1:]})]
        for row in compared:
            # Above 1 is faster.
            row["ratio"], row["low"], row["high"] = 1 / row["ratio"], 1 / row["high"], 1 / row["low"]
            others = sum(ours != theirs for ours, theirs in zip(found[row["contestant"]], reference))
            tokens = sum(map(len, reference)) / len(reference)
            rows.append({"beam": beam, **row, "sentences": len(reference), "tokens": tokens, "other": others})
    return rows


def main() -> None:
    """Times the contestants."""
    args = parse_args()

    begin(args.threads)
    with tempfile.TemporaryDirectory() as name:
        rows = measure(args, Path(name))
    size = args.batch_size or f"{args.max_tokens} tokens"
    write(
        args.output,
        f"generation-{'given' if args.path else 'made-up'}-{args.batch_size or args.max_tokens}-{args.threads}",
        f"Translating in batches of {size}: how many times as fast as the reference",
        rows,
        {**machine(args.threads, args.device), "dtype": "float16" if args.fp16 else "float32"},
    )


if __name__ == "__main__":
    main()
