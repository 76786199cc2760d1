"""Threads that read batches ahead do not outlive the interpreter."""

from __future__ import annotations

import sys

import pytest

from tests.fairseq_commands import run

# The reader is nearly always in torch without the interpreter's lock, which it asks for at each operation's end.
SCRIPT = """
import sys, torch, repairs_only
from fairseq.data.iterators import BufferedIterator

class Batches:
    def __len__(self):
        return {length}
    def __iter__(self):
        for i in range({length}):
            x = torch.ones(100)
            for _ in range(2000):
                x = x + x
            yield i

batches = BufferedIterator({room}, Batches())
assert [next(batches) for _ in range(3)] == [0, 1, 2]
assert {length} > 50 or list(batches) == list(range(3, {length}))
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("length", "room"), [(10**6, 10**6), (10**6, 2), (9, 2)], ids=["reading", "waiting for room", "ended"]
)
def test_a_process_ends_with_its_own_exit_code(bench, length, room):
    done = run([sys.executable, "-c", SCRIPT.format(length=length, room=room)], bench, check=False)
    assert (done.returncode, done.stderr) == (3, "")
