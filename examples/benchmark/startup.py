#!/usr/bin/env python3
"""What does the plugin add to the start of fairseq, and how long does `fairseq-mos --help` take?

    python examples/benchmark/startup.py

Each start is a new process, from compiled files, and all take turns. `plain fairseq` imports what fairseq-train does
and builds its parser; `with the plugin` does so with `--user-dir fairseq_mos`. Seconds are the processor's, of user and
system: beside other work, those by the clock say how busy the machine is; both are shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alternating import ROOT, machine, ratios, write

_PARSER = "import sys; from fairseq_cli.train import *; sys.argv[1:] = {}; options.get_training_parser()"
COMMANDS = {
    "plain fairseq": ["-c", _PARSER.format([])],
    "with the plugin": ["-c", _PARSER.format(["--user-dir", str(ROOT / "fairseq_mos")])],
    "fairseq-mos --help": ["-m", "fairseq_mos.cli", "--help"],
    "fairseq-mos search --help": ["-m", "fairseq_mos.cli", "search", "--help"],
    "python alone": ["-c", "pass"],
}


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    shown = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=shown)
    parser.add_argument("--runs", type=ranges.COUNT, default=9, help="counted rounds, after one uncounted")
    parser.add_argument("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    return parser.parse_args()


def start(arguments: list[str], compiled: str) -> tuple[float, float]:
    """Runs Python, whose compiled files are in a folder; returns the processor's seconds and the clock's."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    # Of its own, so that every start after the first finds them, whoever may write beside the sources.
    environment["PYTHONPYCACHEPREFIX"] = compiled
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
    after = os.times()
    used = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    return used, time.perf_counter() - begun


def main() -> None:
    """Times all starts in turn."""
    args = parse_args()
    found = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as compiled:
        for _ in range(args.runs + 1):
            for name, arguments in COMMANDS.items():
                found[name].append(start(arguments, compiled))
    seconds = {name: [used for used, _ in times[1:]] for name, times in found.items()}
    clock = {name: statistics.median(by_clock for _, by_clock in times[1:]) for name, times in found.items()}
    added = [ours - theirs for ours, theirs in zip(seconds["with the plugin"], seconds["plain fairseq"])]
    rows = ratios(seconds)
    for row in rows:
        plugin = row["contestant"] == "with the plugin"
        row["added"] = statistics.median(added) if plugin else ""
        row["by_clock"] = clock[row["contestant"]]
    write(args.output, "startup", "Starting, the processor's seconds", rows, machine(1))


if __name__ == "__main__":
    main()
