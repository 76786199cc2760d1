"""`fairseq-mos latency-dataset`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from fairseq_mos import ranges
from fairseq_mos.cli.flags import add_latency_flags, from_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--path", help="supernet checkpoint, whose subnets are measured")
    source.add_argument(
        "--search-space", help="shipped search space or YAML file: measures subnets with random weights"
    )
    parser.add_argument(
        "--output",
        required=True,
        help="file to write (.jsonl), a summary and a CSV beside it; given again, measuring goes on",
    )
    parser.add_argument("--samples", type=ranges.SAMPLES, default=300, help="architectures to measure")
    parser.add_argument(
        "--passes",
        type=ranges.PASSES,
        default=1,
        help="how often all of them are measured, each time in another order; the lowest median counts, which "
        "helps on a machine whose speed changes",
    )
    parser.add_argument("--seed", type=ranges.SEED, default=1, help="which architectures")
    parser.add_argument("--data", help="folder with the dictionaries (default: beside the supernet)")
    parser.add_argument(
        "--vocabulary", type=ranges.VOCABULARY, default=32768, help="entries of the dictionary, for --search-space"
    )
    add_latency_flags(parser, runs=20)


def outputs(args: argparse.Namespace) -> list[str]:
    """Returns what the verb writes."""
    return [args.output, f"{args.output}.summary.json", f"{args.output}.csv"]


def run(args: argparse.Namespace) -> None:
    """Measures, prints noise and drift and the next command."""
    import fairseq_mos
    from fairseq_mos.errors import UserError

    fairseq_mos.register()
    from tqdm import tqdm

    from fairseq_mos import tables
    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.cost import dataset, subnets
    from fairseq_mos.cost.latency import DRIFT, LatencyMeter, LatencySettings
    from fairseq_mos.models.opening import open_model

    tables.check_ending(args.output, ".jsonl")
    settings = from_flags(LatencySettings, args)
    if settings.protocol != "hat":
        raise UserError("--protocol generate is not available here, allowed: hat (a predictor needs fixed lengths)")
    if args.path:
        source = subnets.of_checkpoint(open_model(args.path, args.data))
    else:
        source = subnets.of_space(SearchSpace.load(args.search_space), args.vocabulary)
    signature = {**settings.signature(), "vocabulary": source.vocabulary}
    meter = LatencyMeter(settings)
    total = dataset.planned(source.space, args.samples, args.seed, args.passes)
    with tqdm(total=total, unit="arch", desc="measuring", dynamic_ncols=True) as bar:

        def progress(replayed: bool) -> None:
            bar.update()

        data = dataset.measure_dataset(
            source.space,
            args.samples,
            args.seed,
            signature,
            lambda architecture: meter.measure(source.build(architecture)).to_dict(),
            args.output,
            {"origin": source.origin, "supernet": args.path, "data": args.data},
            progress,
            args.passes,
        )
    facts = dataset.summary(data)
    files = outputs(args)
    tables.write_json(files[1], facts)
    tables.write_csv(files[2], dataset.table(data))
    threads = signature["threads"]
    print(
        f"{len(data.architectures)} architectures of search space {source.space.name!r}: "
        f"{facts['fastest_ms']:.2f} to {facts['slowest_ms']:.2f} ms on {signature['device']}, "
        f"{threads} thread{'' if threads == 1 else 's'}, {signature['precision']}"
    )
    if len(data.architectures) < args.samples:
        print(f"--samples is {args.samples}, but no more architectures were found in this space")
    if facts["noise"] is None:
        print(f"the noise is unknown: that needs more than {dataset.REFERENCE_EVERY} architectures")
    else:
        print(
            f"reference measured {facts['reference_measurements']} times: {facts['reference_ms']:.2f} ms, noise "
            f"{facts['noise']:.1%}, drift {facts['drift']:+.1%}"
        )
    if abs(data.drift()) >= DRIFT:
        print(
            "the machine was not quiet: stop what else runs, or let the same command measure more passes "
            f"(--passes {args.passes + 2}), for a better predictor"
        )
    print(f"wrote {', '.join(files)}")
    predictor = str(Path(args.output).with_name("predictor.json"))
    print("next:\n  " + shlex.join(["fairseq-mos", "fit-latency", "--dataset", args.output, "--output", predictor]))
