"""The processes that share a search: how they are told of each other, meet, and end with their command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from fairseq_mos.cli import build_parser
from fairseq_mos.cli.flags import from_flags
from fairseq_mos.errors import UserError
from fairseq_mos.search.launch import Processes, launch
from fairseq_mos.search.ranks import Ranks
from tests.fairseq_commands import ROOT

_PROGRAM = """
import os, pathlib, sys, time
from fairseq_mos.errors import UserError
from fairseq_mos.search import launch

def work(folder):
    pathlib.Path(folder, os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(120)

def die(folder):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    try:
        launch.launch(launch.Processes(2), work if sys.argv[1] == "work" else die, sys.argv[2])
    except UserError as error:
        sys.exit(f"error: {error}")
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
    assert printed.startswith("error: process 1 was killed by signal 9 (9: often for lack of memory)")


LAUNCHED = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def told(monkeypatch):
    """Returns a function that sets what a launcher would; None: it says nothing of it."""

    def tell(**values):
        for name in (*LAUNCHED, "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return tell


def launching(*flags):
    args = build_parser("search").parse_args(["search", "data", "--path", "x.pt", "--output", "out", *flags])
    return launch(from_flags(Processes, args, "distributed_"), lambda request: pytest.fail("was started"), None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE is 'x', allowed: 1 or more"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', allowed: 1 or more"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', allowed: 1 or more"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is '999"),
        ({"RANK": "x"}, "RANK is 'x', allowed: 0 to 1"),
        ({"RANK": "2"}, "RANK is '2', allowed: 0 to 1"),
        ({"RANK": "-1"}, "RANK is '-1', allowed: 0 to 1"),
        ({"RANK": None}, "WORLD_SIZE is 2 but RANK is not set: start the ranks with torchrun"),
        ({"MASTER_ADDR": None}, "WORLD_SIZE is 2 but MASTER_ADDR is not set"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT is '99999', allowed: 1 to 65535"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http', allowed: 1 to 65535"),
        ({"MASTER_ADDR": "nowhere.invalid"}, "MASTER_ADDR is 'nowhere.invalid', which is no host that can be found"),
        ({"MASTER_ADDR": "a" * 300}, "MASTER_ADDR is 'aaa"),
    ],
)
def test_what_a_launcher_cannot_have_meant(told, values, message):
    told(**{**LAUNCHED, **values})
    for read in (launching, lambda: Ranks.from_environment().__enter__()):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--distributed-init-method", "tcp://127.0.0.1:99999"], "the port of --distributed-init-method is '99999'"),
        (["--distributed-init-method", "tcp://127.0.0.1:0"], "the port of --distributed-init-method is '0'"),
        (["--distributed-init-method", "tcp://nowhere.invalid:9"], "the host of --distributed-init-method is 'no"),
        (["--distributed-init-method", "tcp://[::1:9"], "--distributed-init-method is 'tcp://[::1:9', allowed: tcp"),
        (["--distributed-timeout", "2e3"], "--distributed-timeout is 2000.0, allowed: above 0, up to 1440 minutes"),
    ],
)
def test_flags_that_cannot_be_meant(told, flags, message):
    told()
    with pytest.raises(UserError) as caught:
        launching("--distributed-world-size", "2", "--distributed-rank", "0", *flags)
    assert str(caught.value).startswith(message)


def test_a_slip_of_the_finger_starts_no_million_processes(told):
    told()
    with pytest.raises(UserError, match="--distributed-world-size is 65536, allowed: 1 to 1024 on one machine"):
        launching("--distributed-world-size", "65536")


def test_a_launcher_of_one_or_none_is_one_process(told):
    for values in ({}, {"WORLD_SIZE": "1"}):
        told(**values)
        assert launching() is False
        with Ranks.from_environment() as ranks:
            assert (ranks.rank, ranks.size) == (0, 1)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_who_waits_alone_gives_up_in_one_line(told, capfd, rank):
    """Not after the twelve hours for which ranks wait while they work; and without torch's traces."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    told(**{**LAUNCHED, "RANK": rank, "MASTER_PORT": port})
    with pytest.raises(UserError) as caught, Ranks.from_environment(minutes=0.005):
        pytest.fail("met nobody")
    assert str(caught.value).startswith(
        f"the 2 processes of this search did not meet at 127.0.0.1:{port} within 0.005 minutes: start all of them"
    )
    assert "\n" not in str(caught.value) and capfd.readouterr().err == ""
