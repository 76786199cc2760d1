"""The flags of prepare.sh; standard library only, so that mistakes show before an installation.

python -m corpora.arguments NAME FLAGS...     checks the flags: exit code 0 or 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.arguments import OneLineParser, available_cores, natural
from pipeline.config import EXAMPLES

from corpora.recipes import RECIPES


def build_parser(name: str) -> argparse.ArgumentParser:
    """Builds the parser of one recipe."""
    recipe = RECIPES[name]
    parser = OneLineParser(
        prog=f"examples/{name}/prepare.sh",
        description=recipe.title,
        epilog="Interrupted, the same command goes on where it stopped. Exit codes: 0 done; 1 a step failed; 2 bad "
        "input or no network, one line says what.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder to write (default: examples/{name}/work/all, with --limit examples/{name}/work/first-N)",
    )
    add(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help=f"corpora on disk: train.{recipe.source_lang} and train.{recipe.target_lang} (or .gz), and valid.* and "
        "test.* if there are; or archives, downloaded before under their published names",
    )
    add("--limit", type=natural, metavar="N", help="a trial: the first N lines of each corpus alone")
    add(
        "--vocabulary",
        type=natural,
        default=recipe.vocabulary,
        metavar="N",
        help=f"subwords of the joint sentencepiece model (default: {recipe.vocabulary})",
    )
    cores = available_cores()
    add("--workers", type=natural, default=cores, metavar="N", help="processes (default: the cores, 4 at most)")
    add("--no-disk-check", action="store_true", help="do not ask whether the disk has enough space")
    return parser


def parse(name: str, argv: list[str]) -> argparse.Namespace:
    """Parses the flags of one recipe; exits with code 2 and one line on bad ones."""
    parser = build_parser(name)
    args = parser.parse_args(argv)
    if args.source is not None and not args.source.is_dir():
        parser.error(f"--from {args.source} is no folder")
    if args.output is None:
        args.output = EXAMPLES / name / "work" / ("all" if args.limit is None else f"first-{args.limit}")
    args.output = args.output.absolute()
    args.threads = args.workers
    return args


def main(argv: list[str]) -> None:
    """Checks the flags of a recipe."""
    if not argv or argv[0] not in RECIPES:
        sys.exit(f"usage: python -m corpora.arguments {{{','.join(RECIPES)}}} FLAGS...")
    parse(argv[0], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
