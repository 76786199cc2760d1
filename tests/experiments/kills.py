"""Kills a training at many moments and starts it again each time: the weights must be those of an uninterrupted one.

    python -m tests.experiments.kills FOLDER [--kills 20] [--num-workers 1]     exit code 0: all equal, bit for bit

The moments are spread over what an uninterrupted training prints; the last save, the time between it and the exit, and
the exit itself are always among them. Each training is forked from this process, which has imported fairseq once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from fairseq_cli import train

import fairseq_mos
from tests.supernet_commands import TRAIN, load, workspace

FLAGS = [*TRAIN[1:], "--dropout", "0.1", "--router-dropout", "0.1", "--max-epoch", "9", "--max-update", "15"]
FLAGS += ["--save-interval-updates", "4", "--keep-interval-updates", "2"]


def training(save_dir: str, kill_after: int | None = None, delay: float = 0.0) -> tuple[int, list[str]]:
    """Runs the training to its end, or until it has printed `kill_after` lines and `delay` seconds have passed.

    Returns:
        The exit code (negative: the signal) and the lines.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            sys.argv = ["fairseq-train", *FLAGS, "--save-dir", save_dir]
            train.cli_main()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writer)
    lines = []
    with open(reader, errors="replace") as output:
        for line in output:
            lines.append(line.rstrip())
            if len(lines) == kill_after:
                time.sleep(delay)
                os.kill(child, signal.SIGKILL)
                break
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines


def moments(lines: list[str], kills: int) -> list[int]:
    """Numbers of lines after which to kill."""
    begin = next(i for i, line in enumerate(lines) if "Start iterating" in line)
    words = ("Saving checkpoint to", "Saved checkpoint")
    chosen = [max(i for i, line in enumerate(lines) if word in line) for word in words] + [len(lines) - 1]
    spread = kills - len(chosen)
    return sorted([begin + (len(lines) - begin) * (2 * k + 1) // (2 * spread) for k in range(spread)] + chosen)


def unequal(one: Path, other: Path) -> list[str]:
    """What differs between two trainings' last and best checkpoints, of weights and optimiser."""
    found = []
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        first, second = load(one / name), load(other / name)
        for key, value in first["model"].items():
            if not torch.equal(value, second["model"][key]):
                found.append(f"{name}: {key}")
        states = [state["last_optimizer_state"]["state"] for state in (first, second)]
        for key, moment in states[0].items():
            if not all(torch.equal(moment[k], states[1][key][k]) for k in ("exp_avg", "exp_avg_sq")):
                found.append(f"{name}: moments of parameter {key}")
    return found


def main() -> int:
    """Runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty or new folder")
    parser.add_argument("--kills", type=int, default=20, help="3 or more (default: 20)")
    parser.add_argument("--num-workers", default="0", help="data workers of each training (default: 0)")
    args = parser.parse_args()
    FLAGS.extend(["--num-workers", args.num_workers])
    args.folder.mkdir(parents=True, exist_ok=True)
    workspace(args.folder)
    os.chdir(args.folder)
    sys.stdout.reconfigure(line_buffering=True)
    fairseq_mos.register()
    code, lines = training("whole")
    assert code == 0, "\n".join(lines)
    draw, failures = random.Random(1), 0
    for number, line in enumerate(moments(lines, args.kills)):
        save_dir = f"killed{number}"
        killed, _ = training(save_dir, line + 1, draw.choice((0, 0.002, 0.01, 0.05)))
        code, again = training(save_dir)
        differing = unequal(Path("whole"), Path(save_dir)) if code == 0 else again[-3:]
        failures += bool(differing)
        how = "killed" if killed == -signal.SIGKILL else f"ended ({killed})"
        print(f"{how} after {lines[line].split(' | ')[-1][:60]!r}: {differing[:3] or 'equal'}")
    print(f"{args.kills} kills: {failures} unequal")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
