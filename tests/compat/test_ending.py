"""Threads that read batches ahead, or exchange with other ranks, do not outlive the interpreter."""

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


# What a group's thread does after the last exchange, made long: it holds the interpreter's lock again at the end.
GROUP = """
import sys, time, torch, repairs_only
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils
from omegaconf import OmegaConf

options = OmegaConf.structured(FairseqConfig)
options.common.cpu, options.model = True, None
group = options.distributed_training
group.distributed_init_method, group.distributed_backend = "file://{folder}/meeting", "gloo"
group.distributed_rank, group.distributed_world_size = 0, 1
utils.distributed_init(options)
work = torch.distributed.all_reduce(torch.ones(3), async_op=True)
work.get_future().then(lambda _: time.sleep(0.3))
sys.exit(3)
"""


def test_a_rank_ends_with_its_own_exit_code(bench, tmp_path):
    done = run([sys.executable, "-c", GROUP.format(folder=tmp_path)], bench, check=False)
    assert done.returncode == 3, done.stderr
