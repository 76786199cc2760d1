"""Command-line flags that the verbs that measure latency have in common."""

from __future__ import annotations

import argparse

from fairseq_mos import ranges

FIELDS = ("protocol", "device", "precision", "threads", "source_tokens", "target_tokens", "beam", "warmup", "runs")


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
    group.add_argument("--threads", type=ranges.THREADS, help="CPU threads (default: as many as torch uses)")
    group.add_argument("--source-tokens", type=ranges.LENGTH, default=30, help="source length of protocol hat, tokens")
    group.add_argument("--target-tokens", type=ranges.LENGTH, default=30, help="decoder steps of protocol hat")
    group.add_argument("--beam", type=ranges.BEAM, default=5, help="beam width")
    group.add_argument("--warmup", type=ranges.WARMUP, default=5, help="runs before the timed ones")
    group.add_argument("--runs", type=ranges.RUNS, default=runs, help="timed runs of an architecture")


def latency_settings(args: argparse.Namespace):
    """Returns the settings that the flags describe.

    Raises:
        UserError: a value that is not allowed.
    """
    from fairseq_mos.cost.latency import LatencySettings

    return LatencySettings(**{name: getattr(args, name) for name in FIELDS})
