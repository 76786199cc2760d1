"""The flags of run.sh; standard library only, so that mistakes show before an installation.

python -m reproduce.arguments reproduce PLAN FLAGS...     checks the flags: exit code 0 or 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.arguments import OneLineParser, whole
from pipeline.config import EXAMPLES

PROG = "examples/reproduce/run.sh"


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of run.sh."""
    parser = OneLineParser(
        prog=PROG,
        description="Measures how far the weights that subnets inherit from a supernet are from training from "
        "scratch: trains what a plan lists, measures it, and writes tables and pictures.",
        epilog="Interrupted or killed, the same command goes on; what is finished is never done again, for another "
        "plan neither. Exit codes: 0 done; 1 something failed; 2 bad input, one line says what.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    folder = EXAMPLES / "reproduce"
    add("plan", type=Path, metavar="PLAN.yaml", help="what to train and to measure; see examples/reproduce/plans")
    add("--data", type=Path, metavar="DIR", help="the corpus's folder, instead of the plan's corpus.data")
    add(
        "--results",
        type=Path,
        default=folder / "results",
        metavar="DIR",
        help="small files, meant for git: what is finished, tables, pictures (default: examples/reproduce/results)",
    )
    add(
        "--work",
        type=Path,
        default=folder / "work",
        metavar="DIR",
        help="corpora, checkpoints and logs (default: examples/reproduce/work)",
    )
    add("--jobs", type=whole(1, 1024), metavar="N", help="trainings side by side (default: one a GPU; 1 without GPUs)")
    add("--threads", type=whole(1, 1024), default=1, metavar="N", help="CPU threads of each (default: 1)")
    add("--dry-run", action="store_true", help="print what is done and missing, and the hours that are left; a few "
        "updates are timed where no result tells")  # fmt: skip
    add("--report", action="store_true", help="write tables and pictures from what is finished, and train nothing")
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the flags; exits with code 2 and one line on bad ones."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.plan.is_file():
        parser.error(f"{args.plan} is no file")
    if args.data is not None and not args.data.is_dir():
        parser.error(f"--data {args.data} is no folder")
    for name in ("results", "work"):
        setattr(args, name, getattr(args, name).absolute())
    return args


if __name__ == "__main__":
    parse(sys.argv[2:])
