"""Starting the processes that share a search, with the flags that fairseq uses for training."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing import connection

from fairseq_mos import ranges
from fairseq_mos.errors import UserError
from fairseq_mos.search.ranks import MEETING, check_place, launched

MOST_HERE = 1024
"""Processes that are started here at most: more would be a slip of the finger."""

_DAY = 24 * 60

_GRACE = 20
"""Seconds that the other processes have to end by themselves when one has failed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds fairseq's `--distributed-*` flags."""
    group = parser.add_argument_group(
        "several processes", "as in fairseq-train; torchrun needs none of these flags, on one node or several"
    )
    group.add_argument(
        "--distributed-world-size",
        type=ranges.PROCESSES,
        default=1,
        metavar="N",
        help="processes that share the work; started here, one for each GPU, unless --distributed-init-method is given",
    )
    group.add_argument(
        "--distributed-init-method", metavar="tcp://HOST:PORT", help="where the processes of several nodes meet"
    )
    group.add_argument(
        "--distributed-rank",
        type=ranges.RANK,
        metavar="R",
        help="number of this process, with --distributed-init-method",
    )
    group.add_argument(
        "--distributed-timeout",
        type=ranges.MINUTES,
        default=MEETING,
        metavar="MINUTES",
        help="how long the processes wait until all of them have started",
    )


def launch(args: argparse.Namespace, run: Callable[[argparse.Namespace], None]) -> bool:
    """Starts the processes that the flags ask for, and waits for them.

    Args:
        args: the command's arguments, with those of :func:`add_arguments`.
        run: what every process does with them; a function of a module.

    Returns:
        Whether the work is done. If not, this process is a rank (or alone) and should do its part.

    Raises:
        UserError: bad flags, or what a process complained about.
        SystemExit: a process failed otherwise; it has said how.
    """
    size = args.distributed_world_size
    if size < 1:
        raise UserError(f"--distributed-world-size is {size}, allowed: 1 or more")
    if not 0 < args.distributed_timeout <= _DAY:
        raise UserError(f"--distributed-timeout is {args.distributed_timeout}, allowed: above 0, up to {_DAY} minutes")
    ranks = launched()
    if ranks is not None:
        if size not in (1, ranks[1]):
            raise UserError(f"--distributed-world-size is {size}, but a launcher has started {ranks[1]} processes")
        return False
    if args.distributed_init_method is not None:
        os.environ.update(_meeting_point(args.distributed_init_method, size, args.distributed_rank))
        return False
    if args.distributed_rank is not None:
        raise UserError("--distributed-rank needs --distributed-init-method tcp://HOST:PORT")
    if size == 1:
        return False
    if size > MOST_HERE:
        raise UserError(f"--distributed-world-size is {size}, allowed: 1 to {MOST_HERE} on one machine")
    _spawn(args, run, size)
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


def _spawn(args: argparse.Namespace, run: Callable, size: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    complaints = context.SimpleQueue()
    ranks = []
    try:
        for rank in range(size):
            point = _meeting_point(f"tcp://127.0.0.1:{port}", size, rank)
            process = context.Process(target=_rank, args=(args, run, {**point, "LOCAL_RANK": str(rank)}, complaints))
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


def _rank(args: argparse.Namespace, run: Callable, environment: dict[str, str], complaints) -> None:
    os.environ.update(environment)
    # As torchrun does: processes that all use all cores would only disturb each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A spawned process has imported fairseq by now, see configure_logging().
    logging.getLogger().setLevel(logging.WARNING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run(args)
        except UserError as error:
            complaints.put(str(error))
            raise SystemExit(2) from None
        return
    raise SystemExit(130)
