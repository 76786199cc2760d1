"""Flags that several verbs have in common, and requests made of them."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TypeVar

from fairseq_mos import ranges
from fairseq_mos.search.ranks import MEETING

Request = TypeVar("Request")


def from_flags(kind: type[Request], args: argparse.Namespace, prefix: str = "", **others: object) -> Request:
    """Returns a request whose fields have the values of the flags that are called like them.

    Args:
        kind: its class, a dataclass.
        args: the command's arguments.
        prefix: of the flags' names.
        others: fields that no flag is called like.

    Raises:
        UserError: a value that is not allowed.
    """
    names = {field.name: f"{prefix}{field.name}" for field in fields(kind) if field.name not in others}
    return kind(**{name: getattr(args, flag) for name, flag in names.items() if hasattr(args, flag)}, **others)


def add_latency_flags(parser: argparse.ArgumentParser, runs: int) -> None:
    """Adds the flags; their names are those of :class:`fairseq_mos.cost.latency.LatencySettings`."""
    group = parser.add_argument_group("latency")
    group.add_argument(
        "--protocol",
        choices=("hat", "generate"),
        default="hat",
        help="hat: encoder once, then a fixed number of decoder steps (comparable with published tables); "
        "generate: beam search of fairseq on real sentences",
    )
    group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run")
    group.add_argument("--precision", default="fp32", help="fp32; int8 on cpu; fp16 or bf16 on cuda")
    for flag, kind, default, text in (
        ("threads", ranges.THREADS, None, "CPU threads (default: as many as torch uses)"),
        ("source-tokens", ranges.LENGTH, 30, "source length of protocol hat, tokens"),
        ("target-tokens", ranges.LENGTH, 30, "decoder steps of protocol hat"),
        ("beam", ranges.BEAM, 5, "beam width"),
        ("warmup", ranges.WARMUP, 5, "runs before the timed ones"),
        ("runs", ranges.RUNS, runs, "timed runs of an architecture"),
    ):
        group.add_argument(f"--{flag}", type=kind, default=default, help=text)


def add_process_flags(parser: argparse.ArgumentParser) -> None:
    """Adds fairseq's `--distributed-*` flags, those of :class:`fairseq_mos.search.launch.Processes`."""
    group = parser.add_argument_group(
        "several processes", "as in fairseq-train; torchrun needs none of these flags, on one node or several"
    )
    group.add_argument(
        "--distributed-world-size",
        type=ranges.PROCESSES,
        default=1,
        metavar="N",
        help="processes that share the work; started here, one for each GPU, unless --distributed-init-method is given",
    )
    group.add_argument(
        "--distributed-init-method", metavar="tcp://HOST:PORT", help="where the processes of several nodes meet"
    )
    group.add_argument(
        "--distributed-rank",
        type=ranges.RANK,
        metavar="R",
        help="number of this process, with --distributed-init-method",
    )
    group.add_argument(
        "--distributed-timeout",
        type=ranges.MINUTES,
        default=MEETING,
        metavar="MINUTES",
        help="how long the processes wait until all of them have started",
    )
