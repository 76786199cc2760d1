"""The flags of run.sh; standard library only, so that mistakes show before an installation.

python -m bert.arguments bert FLAGS...     checks the flags: exit code 0 or 2
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from pipeline.arguments import OneLineParser, available_cores, names_of, natural, whole
from pipeline.config import EXAMPLES, ROOT

PROG = "examples/bert/run.sh"
SHARED = ROOT.parent / "shared" / "data"
ROUTINGS = ("shared", "layer", "neuron")
SUBNETS = ("found", "largest", "smallest")


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(map(whole(0, 2**32 - 1), text.split(",")))


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of run.sh."""
    parser = OneLineParser(
        prog=PROG,
        description="Trains supernets of masked language models on a text, searches the best subnet in a window of "
        "sizes, extracts it with the largest and the smallest, trains subnets from scratch beside them, and fine-tunes "
        "all of them on GLUE tasks.",
        epilog="Interrupted, the same command goes on where it stopped. Exit codes: 0 done; 1 a stage failed; 2 bad "
        "input, one line says what.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    default = f" (default: English of Multi30k and sentences of SST-2 and STS-B in {SHARED})"
    add("--text", type=Path, metavar="DIR", help="folder with *.txt or *.txt.gz, a sentence a line" + default)
    add("--glue", type=Path, metavar="DIR", help=f"folder with GLUE tasks to fine-tune on (default: {SHARED / 'glue'})")
    add(
        "--tasks",
        default="SST-2,STS-B",
        metavar="NAMES",
        help="tasks, by commas; none: no fine-tuning (default: SST-2,STS-B)",
    )
    add(
        "--output",
        type=Path,
        default=EXAMPLES / "bert" / "work",
        metavar="DIR",
        help="folder for everything (default: examples/bert/work)",
    )
    add("--space", default="bert_tiny", help="search space: a shipped one or a YAML file (default: bert_tiny)")
    add(
        "--routings",
        type=names_of(ROUTINGS),
        default=("neuron",),
        metavar="NAMES",
        help="by commas; the first one's supernet is searched (default: neuron)",
    )
    add(
        "--seeds",
        type=_seeds,
        default=(1,),
        metavar="NUMBERS",
        help="of supernets and trainings from scratch, by commas (default: 1)",
    )
    add(
        "--scratch",
        type=names_of(SUBNETS),
        default=("found",),
        metavar="NAMES",
        help="which subnets are trained from scratch as well (default: found)",
    )
    add("--updates", type=natural, default=2000, metavar="N", help="of every training but fine-tuning (default: 2000)")
    add("--tuning-updates", type=natural, default=500, metavar="N", help="of fine-tuning (default: 500)")
    add(
        "--vocabulary",
        type=natural,
        default=4000,
        metavar="N",
        help="entries of the subword vocabulary (default: 4000)",
    )
    add(
        "--window",
        default="0.5:0.75",
        metavar="LOW:HIGH",
        help="sizes to search in, as fractions of the way from the smallest's parameters to the largest's "
        "(default: 0.5:0.75)",
    )
    add(
        "--threads",
        type=whole(1, 1024),
        default=available_cores(),
        metavar="N",
        help="CPU threads (default: the cores, at most 4)",
    )
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the flags; exits with code 2 and one line on bad ones."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        args.low, args.high = map(float, args.window.split(":"))
    except ValueError:
        args.low = args.high = 0.0
    if not 0 <= args.low < args.high <= 1:
        parser.error(f"--window is {args.window[:60]!r}, allowed: LOW:HIGH with 0 <= LOW < HIGH <= 1")
    for flag, folder in (("--text", args.text), ("--glue", args.glue)):
        if folder is not None and not folder.is_dir():
            parser.error(f"{flag} {folder} is no folder")
    if args.text is None and not (SHARED / "multi30k").is_dir():
        parser.error(f"there is no text in {SHARED}: give --text DIR")
    args.glue = args.glue or SHARED / "glue"
    args.tasks = () if args.tasks == "none" else tuple(args.tasks.split(","))
    for task in args.tasks:
        if not (args.glue / task).is_dir():
            parser.error(f"--tasks {task}: there is no folder {args.glue / task}; --tasks none goes without")
    args.command = shlex.join(["bash", PROG, *argv])
    return args


if __name__ == "__main__":
    parse(sys.argv[2:])
