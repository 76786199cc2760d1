"""What a launcher says of its processes is checked before anything waits for them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from fairseq_mos.compat.launching import _check_numbers
from fairseq_mos.errors import UserError
from tests.fairseq_commands import TINY, run


def launch(method, size=1):
    return SimpleNamespace(distributed_init_method=method, distributed_world_size=size)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WORLD_SIZE", "x"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "9" * 400), ("RANK", "-1"), ("MASTER_PORT", "99999")],
)
def test_environment(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"^environment variable {variable}: .*, allowed: "):
        _check_numbers(launch(None))


@pytest.mark.parametrize(
    "method", ["tcp://localhost", "tcp://localhost:99999", "tcp://localhost:x", "tcp://:80", "tcp://localhost:0"]
)
def test_meeting_points(method):
    with pytest.raises(UserError, match="^--distributed-init-method is .*, allowed: tcp://HOST:PORT"):
        _check_numbers(launch(method))


def test_hosts():
    for method in ("tcp://localhost:12345", "tcp://[::1]:12345", "env://", "file:///tmp/x", None):
        _check_numbers(launch(method))
    with pytest.raises(UserError, match="the host of --distributed-init-method is 'no-such-host.invalid', which is no"):
        _check_numbers(launch("tcp://no-such-host.invalid:1234"))


@pytest.mark.parametrize("method", ["env://", None])
def test_hosts_of_the_environment(monkeypatch, method):
    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    _check_numbers(launch(method))  # one process meets nobody
    for size, launched in ((2, "1"), (1, "2")):
        monkeypatch.setenv("WORLD_SIZE", launched)
        with pytest.raises(UserError, match="^MASTER_ADDR is 'no-such-host.invalid', which is no host"):
            _check_numbers(launch(method, size))
    _check_numbers(launch("file:///tmp/x", 2))


def test_the_command_says_it_in_one_line(bench, tmp_path):
    plugin = ["--user-dir", str(bench / "repairs_only"), "--distributed-world-size", "2", "--distributed-no-spawn"]
    command = [sys.executable, "-m", "fairseq_cli.train", str(bench / "bin"), *TINY, *plugin]
    place = {"MASTER_ADDR": "no-such-host.invalid", "MASTER_PORT": "29500", "WORLD_SIZE": "2", "RANK": "0"}
    done = run([*command, "--distributed-init-method", "env://"], tmp_path, check=False, **place)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("fairseq-mos: error: MASTER_ADDR is 'no-such-host.invalid', which is no host")
