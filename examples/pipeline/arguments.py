"""The flags of the examples' run.sh; standard library only, so that mistakes show before an installation.

    python -m pipeline.arguments NAME FLAGS...     checks the flags: exit code 0 or 2
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn

from pipeline.config import CONFIGS, Config

LEAST_SAMPLES = 20
"""What `fairseq-mos fit-latency` asks for; importing it from there would need the installation."""


class OneLineParser(argparse.ArgumentParser):
    """Reports a bad argument in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {line} (see --help)\n")


def whole(low: int, high: int) -> Callable[[str], int]:
    """Returns a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        # int() would also take "1_0" and " 1", and much time for thousands of digits.
        if not re.fullmatch(r"[0-9]{1,20}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is not allowed; it must be {low:,} to {high:,}")
        return int(text)

    return parse


natural = whole(1, 1_000_000_000)
_from_zero = whole(0, 1_000_000_000)
_seed = whole(0, 2**32 - 1)  # what numpy takes
_threads = whole(1, 1024)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not allowed; it goes from 0 (smallest) to 1 (largest)")
    return value


def _language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no language code such as en or de")
    return text


def names_of(allowed: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Returns a parser of different names by commas, all of them allowed ones."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if not set(names) <= set(allowed) or len(set(names)) != len(names):
            raise argparse.ArgumentTypeError(f"'{text}' is not allowed; names of {', '.join(allowed)}, by commas")
        return names

    return parse


def available_cores() -> int:
    """Returns the cores that this process may use, 4 at most: these models are too small for more."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return min(cores, 4)


def build_parser(config: Config) -> argparse.ArgumentParser:
    """Builds the parser of one example."""
    parser = OneLineParser(
        prog=f"examples/{config.name}/run.sh",
        description=config.title,
        epilog="Interrupted, the same command goes on where it stopped; with other flags, the stages that "
        "they concern are done again. Exit codes: 0 done; 1 a stage failed; 2 bad input, one line says what.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    default = f" (default: {config.default_data})" if config.default_data else ""
    add(config.data_flag, dest="data", type=Path, metavar="DIR", help=config.data_help + default)
    add("--source-lang", default="en", type=_language, metavar="LANG", help="source language (default: en)")
    languages = f"; without {config.data_flag}: de or fr" if config.builtin_targets else ""
    add(
        "--target-lang",
        default="de",
        type=_language,
        metavar="LANG",
        help=f"target language (default: de){languages}",
    )
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder for everything that is written (default: examples/{config.name}/work/SOURCE-TARGET, "
        "with the name of a given corpus in front)",
    )
    share = config.dense_updates / config.updates
    others = f"; the stock model and training from scratch have {share:.3g} times as many" if share else ""
    for flag, value, text in (
        ("--updates", config.updates, f"training updates of the supernet{others}"),
        ("--vocabulary", config.vocabulary, "entries of the joint sentencepiece vocabulary"),
        ("--budget", config.budget, "architectures that the search evaluates"),
        ("--latency-samples", config.latency_samples, f"architectures to measure, {LEAST_SAMPLES} or more"),
    ):
        add(flag, default=value, type=natural, metavar="N", help=f"{text} (default: {value})")
    add(
        "--retrain-updates",
        default=config.retrain_updates,
        type=_from_zero,
        metavar="N",
        help="updates in which the found subnet is retrained, beside training it from scratch; 0: neither "
        f"(default: {config.retrain_updates})",
    )
    add(
        "--latency-fraction",
        default=config.latency_fraction,
        type=_fraction,
        metavar="X",
        help="the search's latency limit, between what is predicted for the smallest (0) and for the largest "
        f"architecture (1) on this machine (default: {config.latency_fraction})",
    )
    add("--seed", default=1, type=_seed, metavar="N", help="seed of training and search (default: 1)")
    add(
        "--threads",
        default=available_cores(),
        type=_threads,
        metavar="N",
        help="CPU threads (default: the available cores, 4 at most)",
    )
    return parser


def parse(config: Config, argv: list[str]) -> argparse.Namespace:
    """Parses the flags of one example; exits with code 2 and one line on bad ones."""
    parser = build_parser(config)
    args = parser.parse_args(argv)
    if args.latency_samples < LEAST_SAMPLES:
        parser.error(f"--latency-samples is {args.latency_samples}, allowed: {LEAST_SAMPLES} or more")
    if args.source_lang == args.target_lang:
        parser.error(f"--source-lang and --target-lang are both {args.source_lang}")
    if args.data is None and config.default_data is not None and config.default_data.is_dir():
        args.data = config.default_data
    if args.data is None:
        if not config.builtin_targets:
            parser.error(f"{config.data_flag} DIR is needed: {config.data_help}")
        if args.source_lang != "en" or args.target_lang not in config.builtin_targets:
            pairs = " and ".join(f"en-{target}" for target in config.builtin_targets)
            parser.error(
                f"there is no built-in corpus {args.source_lang}-{args.target_lang}, only {pairs}: "
                f"give {config.data_flag} DIR for other languages"
            )
    elif not args.data.is_dir():
        parser.error(f"{config.data_flag} {args.data} is no folder")
    if args.output is None:
        pair = f"{args.source_lang}-{args.target_lang}"
        named = config.builtin_targets and args.data is not None
        args.output = config.folder / "work" / (f"{args.data.resolve().name}-{pair}" if named else pair)
    args.output = args.output.absolute()
    args.command = shlex.join(["bash", f"examples/{config.name}/run.sh", *argv])
    return args


def main(argv: list[str]) -> None:
    """Checks the flags of an example."""
    if not argv or argv[0] not in CONFIGS:
        sys.exit(f"usage: python -m pipeline.arguments {{{','.join(CONFIGS)}}} FLAGS...")
    parse(CONFIGS[argv[0]], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
