"""The flags of run.sh; standard library only, so that mistakes show before an installation.

python -m glue.arguments glue VERB FLAGS...     checks the flags: exit code 0 or 2
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

from pipeline.arguments import OneLineParser, available_cores, names_of, whole
from pipeline.config import EXAMPLES

from glue.tasks import TASKS

PROG = "examples/glue/run.sh"
PLANS = EXAMPLES / "glue" / "plans"
LEAST = 8
"""Tokens of an example: four of them are no words."""

_seed = whole(0, 2**31 - 1)


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(map(_seed, text.split(",")))
    if len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"'{text}' is not allowed; a seed stands there twice")
    return seeds


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"'{text[:60]}' is no name: letters, digits, and _ . + - within")
    return text


def _plan(text: str) -> Path:
    shipped = PLANS / f"{text}.yaml"
    return shipped if shipped.is_file() else Path(text)


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of run.sh."""
    parser = OneLineParser(
        prog=PROG,
        description="Fine-tunes dense masked language models (mos_roberta_subnet, fairseq's roberta) on GLUE.",
        epilog="Interrupted, the same command goes on where it stopped. Exit codes: 0 done; 1 a training failed; 2 bad "
        "input, one line says what.",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    texts = {
        "prepare": "reads the tasks' files and writes what fairseq's sentence_prediction reads",
        "finetune": "fine-tunes a model on all points of a plan, scores it on the dev sets and writes the table",
        "table": "writes the table, its files and the picture from what is finished",
    }
    own = {}
    for verb, text in texts.items():
        own[verb] = verbs.add_parser(verb, help=text, description=f"{verb} {text}.", allow_abbrev=False)
        own[verb].add_argument(
            "--output",
            type=Path,
            default=EXAMPLES / "glue" / "work",
            metavar="DIR",
            help="folder for everything; the models in it share one dictionary (default: examples/glue/work)",
        )
    add = own["prepare"].add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder with a folder a task, files as published")
    add("--dict", type=Path, required=True, metavar="FILE", help="the model's dictionary (dict.txt)")
    cut = "its sentencepiece model, or BERT's vocab.txt; none: text is cut at its spaces"
    add("--bpe", required=True, metavar="FILE", help=cut)
    add("--tasks", type=names_of(TASKS), metavar="NAMES", help="by commas (default: those whose folders are there)")
    add(
        "--length",
        type=whole(LEAST, 100_000),
        default=128,
        metavar="N",
        help="longest example, in tokens; the longer sentence of a pair is cut first (default: 128)",
    )
    add = own["finetune"].add_argument
    add("--model", type=Path, required=True, metavar="FILE", help="pretrained dense checkpoint")
    add("--name", type=_name, metavar="NAME", help="what the table calls it (default: the file's or its folder's)")
    add(
        "--plan",
        type=_plan,
        default=PLANS / "published.yaml",
        metavar="PLAN",
        help="grid: published, autodistil, small or a YAML file (default: published)",
    )
    add("--tasks", type=names_of(TASKS), metavar="NAMES", help="by commas (default: all that are prepared)")
    add("--seeds", type=_seeds, metavar="NUMBERS", help="by commas, instead of the plan's")
    add("--teacher", metavar="NAME", help="distils: the name of a model that was fine-tuned on the same tasks here")
    add("--distillation-weight", type=float, default=0.5, metavar="W", help="of the teacher's targets (default: 0.5)")
    add("--temperature", type=float, default=1.0, metavar="T", help="of its probabilities (default: 1)")
    add("--keep-all", action="store_true", help="keep the fine-tuned model of every point, not of the best alone")
    add("--jobs", type=whole(1, 1024), metavar="N", help="trainings side by side (default: one a GPU; 1 without GPUs)")
    add(
        "--threads",
        type=whole(1, 1024),
        default=available_cores(),
        metavar="N",
        help="CPU threads of each (default: the cores, at most 4)",
    )
    add("--dry-run", action="store_true", help="print what is done and missing")
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the flags; exits with code 2 and one line on bad ones."""
    parser = build_parser()
    args = parser.parse_args(argv)
    files = {"--dict": "dict", "--model": "model", "--plan": "plan"}
    for flag, path in ((flag, getattr(args, name, None)) for flag, name in files.items()):
        if path is not None and not path.is_file():
            parser.error(f"{flag} {path} is no file")
    if args.verb == "prepare":
        if not args.data.is_dir():
            parser.error(f"--data {args.data} is no folder")
        args.bpe = None if args.bpe == "none" else Path(args.bpe)
        if args.bpe is not None and not args.bpe.is_file():
            parser.error(f"--bpe {args.bpe} is no file; none: text is cut at its spaces")
        there = tuple(name for name in TASKS if (args.data / name).is_dir())
        missing = [name for name in args.tasks or () if name not in there]
        if missing or not there:
            parser.error(f"{args.data} has no folder {missing[0] if missing else 'of ' + ', '.join(TASKS)}")
        args.tasks = args.tasks or there
    if args.verb == "finetune":
        if not 0 <= args.distillation_weight <= 1:
            parser.error(f"--distillation-weight is {args.distillation_weight}, allowed: 0 to 1")
        if not 0 < args.temperature <= 1000:
            parser.error(f"--temperature is {args.temperature}, allowed: above 0 to 1000")
        if args.name is None:
            stem = args.model.stem
            common = stem in ("model", "subnet") or stem.startswith("checkpoint")
            try:
                args.name = _name(args.model.absolute().parent.name if common else stem)
            except argparse.ArgumentTypeError:
                parser.error(f"--model {args.model} gives no name: give --name NAME")
        if args.teacher == args.name:
            parser.error(f"--teacher is {args.teacher}, the model itself")
    args.output = args.output.absolute()
    args.command = shlex.join(["bash", PROG, *argv])
    return args


if __name__ == "__main__":
    parse(sys.argv[2:])
