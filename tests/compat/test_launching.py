"""What a launcher says of its processes is checked before anything waits for them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fairseq_mos.compat.launching import _check_numbers
from fairseq_mos.errors import UserError


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WORLD_SIZE", "x"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "9" * 400), ("RANK", "-1"), ("MASTER_PORT", "99999")],
)
def test_environment(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"^environment variable {variable}: .*, allowed: "):
        _check_numbers(SimpleNamespace(distributed_init_method=None))


@pytest.mark.parametrize(
    "method", ["tcp://localhost", "tcp://localhost:99999", "tcp://localhost:x", "tcp://:80", "tcp://localhost:0"]
)
def test_meeting_points(method):
    with pytest.raises(UserError, match="^--distributed-init-method is .*, allowed: tcp://HOST:PORT"):
        _check_numbers(SimpleNamespace(distributed_init_method=method))


def test_hosts():
    for method in ("tcp://localhost:12345", "tcp://[::1]:12345", "env://", "file:///tmp/x", None):
        _check_numbers(SimpleNamespace(distributed_init_method=method))
    with pytest.raises(UserError, match="there is no host no-such-host.invalid"):
        _check_numbers(SimpleNamespace(distributed_init_method="tcp://no-such-host.invalid:1234"))
