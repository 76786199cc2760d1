"""Starting the processes that share a search, as fairseq does for training."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from typing import TypeVar

from fairseq_mos.errors import UserError
from fairseq_mos.logs import configure_logging
from fairseq_mos.search.ranks import MEETING, check_place, launched

MOST_HERE = 1024
"""Processes that are started here at most: more would be a slip of the finger."""

_DAY = 24 * 60

Request = TypeVar("Request")

_GRACE = 20
"""Seconds that the other processes have to end by themselves when one has failed."""


@dataclass(frozen=True)
class Processes:
    """What fairseq's `--distributed-*` flags say.

    Attributes:
        world_size: how many there are; started here, unless `init_method` is given.
        init_method: `tcp://HOST:PORT` where the processes of several nodes meet.
        rank: number of this process, with `init_method`.
        timeout: minutes that the processes wait until all of them have started.
    """

    world_size: int = 1
    init_method: str | None = None
    rank: int | None = None
    timeout: float = MEETING


def launch(processes: Processes, run: Callable[[Request], None], request: Request) -> bool:
    """Starts the processes that are asked for, and waits for them.

    Args:
        processes: how many, and where they meet.
        run: what every process does; a function of a module.
        request: its argument.

    Returns:
        Whether the work is done. If not, this process is a rank (or alone) and should do its part.

    Raises:
        UserError: bad flags, or what a process complained about.
        SystemExit: a process failed otherwise; it has said how.
    """
    size = processes.world_size
    if size < 1:
        raise UserError(f"--distributed-world-size is {size}, allowed: 1 or more")
    if not 0 < processes.timeout <= _DAY:
        raise UserError(f"--distributed-timeout is {processes.timeout}, allowed: above 0, up to {_DAY} minutes")
    ranks = launched()
    if ranks is not None:
        if size not in (1, ranks[1]):
            raise UserError(f"--distributed-world-size is {size}, but a launcher has started {ranks[1]} processes")
        return False
    if processes.init_method is not None:
        os.environ.update(_meeting_point(processes.init_method, size, processes.rank))
        return False
    if processes.rank is not None:
        raise UserError("--distributed-rank needs --distributed-init-method tcp://HOST:PORT")
    if size == 1:
        return False
    if size > MOST_HERE:
        raise UserError(f"--distributed-world-size is {size}, allowed: 1 to {MOST_HERE} on one machine")
    _spawn(run, request, size)
    return True


def _meeting_point(method: str, size: int, rank: int | None) -> dict[str, str]:
    match = re.fullmatch(r"tcp://([^:/]+|\[[^\]]+\]):(\d+)", method)
    if match is None:
        raise UserError(f"--distributed-init-method is {method!r}, allowed: tcp://HOST:PORT")
    if rank is None or not 0 <= rank < size:
        raise UserError(f"--distributed-rank is {rank}, allowed: 0 to {size - 1} (--distributed-world-size {size})")
    host, port = match.group(1).strip("[]"), match.group(2)
    check_place("the host of --distributed-init-method", host, "the port of --distributed-init-method", port)
    return {"MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": str(size), "RANK": str(rank)}


def _spawn(run: Callable[[Request], None], request: Request, size: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    complaints = context.SimpleQueue()
    ranks = []
    try:
        for rank in range(size):
            point = _meeting_point(f"tcp://127.0.0.1:{port}", size, rank)
            process = context.Process(target=_rank, args=(run, request, {**point, "LOCAL_RANK": str(rank)}, complaints))
            process.start()
            ranks.append(process)
        _wait(ranks)
    finally:
        for process in ranks:
            if process.is_alive():
                process.terminate()
            process.join()
    if any(process.exitcode for process in ranks):
        if not complaints.empty():
            raise UserError(complaints.get())
        # A killed one can say nothing itself; the others then complain about the lost connection.
        killed = [(rank, -process.exitcode) for rank, process in enumerate(ranks) if (process.exitcode or 0) < 0]
        if killed and killed[0][1] != signal.SIGTERM:
            raise UserError(
                f"process {killed[0][0]} was killed by signal {killed[0][1]} (9: often for lack of memory); the same "
                "command continues the search"
            )
        raise SystemExit(1)


def _wait(ranks: list) -> None:
    """Returns when all have ended, or some time after one has failed."""
    deadline = None
    while True:
        alive = [process for process in ranks if process.is_alive()]
        if not alive or (deadline is not None and time.monotonic() > deadline):
            return
        if deadline is None and any(process.exitcode for process in ranks):
            deadline = time.monotonic() + _GRACE
        connection.wait([process.sentinel for process in alive], timeout=1)


def _end_with_parent() -> None:
    """Ends this process when the command was killed: it would go on, and hold the log."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _rank(run: Callable[[Request], None], request: Request, environment: dict[str, str], complaints) -> None:
    os.environ.update(environment)
    # As torchrun does: processes that all use all cores would only disturb each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    configure_logging()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run(request)
        except UserError as error:
            complaints.put(str(error))
            raise SystemExit(2) from None
        return
    raise SystemExit(130)
