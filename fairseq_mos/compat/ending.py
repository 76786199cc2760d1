"""A process that reads batches ahead, or is one of several, ends with its own exit code."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from fairseq_mos.compat._patch import is_replaced, replace

PATIENCE = 10.0
"""Seconds that the process's end waits for a batch that is being read."""

_readers: weakref.WeakSet[Any] = weakref.WeakSet()
_ending = threading.Event()


def _until_the_end(source: Any) -> Iterator:
    for item in source:
        yield item
        if _ending.is_set():
            return


def _end_readers() -> None:
    _ending.set()
    deadline = time.monotonic() + PATIENCE
    for reader in list(_readers):
        while reader.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                reader._queue.get(timeout=0.01)  # it may wait for room


def repair_readers_at_exit() -> bool:
    """Ends the threads that read batches ahead before the interpreter ends.

    `BufferedIterator` (`data/iterators.py`) reads in a daemon thread, and a training that reaches `--max-update` or
    stops with an error leaves it where it is, often in torch without the interpreter's lock. Where it asks for the
    lock of an interpreter that is ending, Python up to 3.13 unwinds the thread, which torch's C++ forbids: `terminate
    called without an active exception`, and the exit code is SIGABRT's (pytorch, issue 38228).
    """
    from fairseq.data import iterators

    consumer = getattr(iterators, "BackgroundConsumer", None)
    if consumer is None or is_replaced(consumer, "run", "readers_at_exit"):
        return False

    def make(original: Callable) -> Callable:
        def run(self: Any) -> None:
            _readers.add(self)
            self._source = _until_the_end(self._source)
            original(self)

        return run

    atexit.register(_end_readers)
    return replace(consumer, "run", "readers_at_exit", make)


def _end_groups() -> None:
    from torch import distributed

    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def repair_groups_at_exit() -> bool:
    """Ends the threads of a gloo process group before the interpreter ends.

    fairseq leaves the group where it is. Its threads drop what they exchanged a moment after the training goes on, and
    where that belongs to Python they ask for the interpreter's lock: too late, on a busy machine, which ends as in
    :func:`repair_readers_at_exit`. NCCL's groups are left alone: to end one waits for the other ranks.
    """
    from fairseq.distributed import utils

    def make(original: Callable) -> Callable:
        def distributed_init(*args: Any, **kwargs: Any) -> Any:
            rank = original(*args, **kwargs)
            atexit.register(_end_groups)
            return rank

        return distributed_init

    return replace(utils, "distributed_init", "groups_at_exit", make)
