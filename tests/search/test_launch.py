"""The processes that share a search end with the command that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.fairseq_commands import ROOT

_PROGRAM = """
import argparse, os, pathlib, sys, time
from fairseq_mos.search import launch

def work(args):
    pathlib.Path(args.folder, os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(120)

def die(args):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    args = argparse.Namespace(folder=sys.argv[2], distributed_world_size=2, distributed_init_method=None,
                              distributed_rank=None)
    launch.launch(args, work if sys.argv[1] == "work" else die)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(_PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return lambda what: subprocess.Popen(
        [sys.executable, str(file), what, str(tmp_path)],
        cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ranks_end_when_the_command_is_killed(program, tmp_path, how):
    """Otherwise they would go on and hold the log, and the same command could not continue the search."""
    files = [tmp_path / "0", tmp_path / "1"]
    with program("work") as command:
        assert wait_for(lambda: all(file.exists() and file.read_text() for file in files))
        ranks = [int(file.read_text()) for file in files]
        assert all(map(alive, ranks))
        command.send_signal(how)
        command.wait()
        assert wait_for(lambda: not any(map(alive, ranks)), 20)


def test_a_killed_rank_is_named(program):
    with program("die") as command:
        _, printed = command.communicate()
    assert command.returncode != 0
    assert printed.count("\n") == 1
    assert "error: process 1 was killed by signal 9 (9: often for lack of memory)" in printed
