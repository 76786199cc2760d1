"""`fairseq-mos evaluate`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from fairseq_mos import ranges
from fairseq_mos.cli.flags import from_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    systems = parser.add_argument_group("systems", "the first one is what the others are compared with")
    systems.add_argument(
        "--path",
        nargs="+",
        default=[],
        metavar="[NAME=]PATH",
        help="checkpoints: supernet (with --architecture), extracted, retrained, stock transformer, or exported folder",
    )
    systems.add_argument(
        "--architecture",
        nargs="+",
        default=[],
        metavar="[NAME=]ARCHITECTURE",
        help="of supernets: YAML files, largest, smallest or random:SEED",
    )
    systems.add_argument(
        "--hypotheses", nargs="+", default=[], metavar="[NAME=]FILE", help="translations to score, one sentence a line"
    )
    systems.add_argument("--data", help="folder with dictionaries and subword model (default: beside each checkpoint)")
    systems.add_argument(
        "--trust",
        action="store_true",
        help="of folders of torch.export programs, run the programs, which can run any code; otherwise their weights "
        "are loaded into the network that they were exported from",
    )
    tests = parser.add_argument_group("test sets")
    tests.add_argument(
        "--test-set",
        nargs="+",
        required=True,
        metavar="[NAME=]SET",
        help="sacreBLEU's name (wmt14, wmt22, ...), or prefix PREFIX of raw files PREFIX.en and PREFIX.de",
    )
    tests.add_argument("--source-lang", help="source language (default: the first checkpoint's)")
    tests.add_argument("--target-lang", help="target language (default: the first checkpoint's)")
    decoding = parser.add_argument_group("translating")
    decoding.add_argument("--beam", type=ranges.BEAM, default=5, help="beam size")
    decoding.add_argument(
        "--lenpen", type=ranges.LENPEN, default=1.0, help="length penalty: above 1 favours longer translations"
    )
    decoding.add_argument("--max-tokens", type=ranges.TOKENS, default=4096, help="source tokens of a batch")
    decoding.add_argument("--bpe", choices=("none",), help="none: the text is segmented already")
    decoding.add_argument("--tokenizer", help="fairseq's name of the tokenizer before the subwords, such as moses")
    decoding.add_argument("--cpu", action="store_true", help="stay on the CPU")
    decoding.add_argument("--fp16", action="store_true", help="half precision (GPU)")
    scoring = parser.add_argument_group("scores")
    scoring.add_argument("--metrics", default="bleu,chrf,ter", help="of sacreBLEU, separated by commas")
    scoring.add_argument(
        "--bootstrap", type=ranges.RESAMPLES, default=1000, help="resamples of the confidence intervals; 0: none"
    )
    scoring.add_argument(
        "--paired",
        choices=("bs", "ar", "none"),
        default="bs",
        help="paired test against the first system: bootstrap, approximate randomisation",
    )
    scoring.add_argument(
        "--paired-trials", type=ranges.RESAMPLES, default=0, help="its samples; 0: 1000 (bs) or 10000 (ar)"
    )
    scoring.add_argument(
        "--compound-bleu",
        action="store_true",
        help="also tokenised BLEU with compounds split, to compare with HAT's tables (German only)",
    )
    scoring.add_argument(
        "--comet", metavar="MODEL", help="also COMET: a name such as Unbabel/wmt22-comet-da, or a file"
    )
    scoring.add_argument(
        "--comet-python", metavar="FILE", help="interpreter of an environment with unbabel-comet (docs/evaluation.md)"
    )
    scoring.add_argument(
        "--comet-minutes", type=ranges.MINUTES, default=120.0, help="end COMET where a test set takes it longer"
    )
    parser.add_argument("--latency", action="store_true", help="measure each model's latency (see fairseq-mos profile)")
    parser.add_argument("--threads", type=ranges.THREADS, help="CPU threads of that (default: as many as torch uses)")
    parser.add_argument("--runs", type=ranges.RUNS, default=100, help="timed runs of that")
    parser.add_argument(
        "--output", required=True, help="folder to write; translations in it are not made again by the same command"
    )


def outputs(args: argparse.Namespace) -> list[Path]:
    """Returns what the verb writes, whatever its systems are called."""
    from fairseq_mos.metrics.tables import table_files

    return table_files(Path(args.output))


def run(args: argparse.Namespace) -> None:
    """Translates, scores, prints a table."""
    import fairseq_mos
    from fairseq_mos.errors import UserError

    if not args.path and not args.hypotheses:
        raise UserError("nothing to evaluate: give --path or --hypotheses")
    if args.comet and not args.comet_python:
        raise UserError("--comet needs --comet-python: the interpreter of an environment with unbabel-comet")
    fairseq_mos.register()
    # What sacreBLEU warns of would stand between our lines; its errors reach us otherwise.
    logging.getLogger("sacrebleu").setLevel(logging.CRITICAL)
    from fairseq_mos.metrics.evaluation import Request, evaluate
    from fairseq_mos.metrics.tables import as_text, write_tables

    rows = evaluate(from_flags(Request, args))
    print(as_text(rows))
    print(f"wrote {', '.join(map(str, write_tables(rows, Path(args.output))))}")
