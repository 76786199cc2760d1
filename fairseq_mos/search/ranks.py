"""The processes that share a search: fairseq's and torchrun's ranks, or this process alone."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from fairseq_mos.errors import UserError
from fairseq_mos.logs import silent_libraries

Item = TypeVar("Item")
Value = TypeVar("Value")

TIMEOUT = timedelta(hours=12)
"""How long ranks wait for each other: one may measure for long while the others have nothing to do."""

MEETING = 10.0
"""Minutes that they wait for each other to start: who is not there then was started wrongly, or not at all."""

LARGEST_PORT = 65535


class Ranks:
    """All ranks run the same program; :meth:`share` splits the work between them.

    Args:
        rank: this process's number.
        size: how many there are; more than 1 needs an initialised `torch.distributed`.
        group: their process group; None: the default one.
    """

    def __init__(self, rank: int = 0, size: int = 1, group=None):
        self.rank, self.size, self._group = rank, size, group

    @classmethod
    @contextmanager
    def from_environment(cls, cpu: bool = False, minutes: float = MEETING) -> Iterator[Ranks]:
        """Joins the ranks that torchrun, :mod:`fairseq_mos.search.launch` or another launcher has started.

        Without a launcher, this process is alone.

        Args:
            cpu: stay on the CPU where there are GPUs.
            minutes: how long to wait until all have started.

        Raises:
            UserError: the launcher's variables are none, or the ranks do not meet.
        """
        rank, size = launched() or (0, 1)
        if size == 1:
            yield cls()
            return
        import torch
        from torch import distributed

        if torch.cuda.is_available() and not cpu:
            gpus = torch.cuda.device_count()
            local = whole("LOCAL_RANK", os.environ.get("LOCAL_RANK", str(rank % gpus)), 0, size - 1)
            if local >= gpus:
                raise UserError(f"there are {gpus} GPUs here, too few for process {local + 1}: start {gpus} at most")
            torch.cuda.set_device(local)
        try:
            # What ranks exchange are small Python objects: gloo does that on every machine.
            with silent_libraries():
                distributed.init_process_group("gloo", timeout=timedelta(minutes=minutes))
                group = distributed.new_group(timeout=TIMEOUT)
        except (RuntimeError, ValueError, OSError) as error:
            place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise UserError(
                f"the {size} processes of this search did not meet at {place} within {minutes:g} minutes: start all of "
                f"them with the same address, or give --distributed-timeout ({str(error).splitlines()[0].rstrip('.')})"
            ) from None
        try:
            yield cls(rank, size, group)
        finally:
            distributed.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this is the first rank, which reads and writes files."""
        return self.rank == 0

    def share(self, function: Callable[[Item], Value], items: Sequence[Item]) -> list[Value]:
        """Applies the function to every item, each on one rank, and returns all results, in order, on every rank.

        Raises:
            Exception: what the function raised, on whatever rank; a UserError of any rank first.
        """
        if self.size == 1:
            return [function(item) for item in items]
        mine, error = {}, None
        try:
            for index in range(self.rank, len(items), self.size):
                mine[index] = function(items[index])
        except Exception as caught:
            error = caught
        results: dict[int, Value] = {}
        for part in self._exchange(mine, error):
            results.update(part)
        return [results[index] for index in range(len(items))]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Ends every rank where one of them raises in the block, instead of leaving the others waiting."""
        if self.size == 1:
            yield
            return
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        self._exchange(None, error)

    def broadcast(self, value: Value) -> Value:
        """Returns the first rank's value on every rank."""
        if self.size == 1:
            return value
        from torch import distributed

        box = [value if self.is_main else None]
        distributed.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def _exchange(self, value, error: Exception | None) -> list:
        from torch import distributed

        description = None
        if error is not None:
            description = (isinstance(error, UserError), str(error) or type(error).__name__, self.rank)
        gathered: list = [None] * self.size
        distributed.all_gather_object(gathered, (value, description), group=self._group)
        failures = [failure for _, failure in gathered if failure is not None]
        if failures:
            if error is not None and not isinstance(error, UserError):
                raise error
            user, message, rank = max(failures, key=lambda failure: failure[0])
            raise UserError(message) if user else RuntimeError(f"rank {rank}: {message}")
        return [part for part, _ in gathered]


def launched() -> tuple[int, int] | None:
    """Returns this process's number and how many there are, where a launcher has started it.

    Launchers tell through `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`.

    Raises:
        UserError: one of these is missing or impossible.
    """
    if "WORLD_SIZE" not in os.environ:
        return None
    size = whole("WORLD_SIZE", os.environ["WORLD_SIZE"], 1)
    if size == 1:
        return 0, 1
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is {size} but {', '.join(missing)} is not set: start the ranks with torchrun")
    rank = whole("RANK", os.environ["RANK"], 0, size - 1)
    check_place("MASTER_ADDR", os.environ["MASTER_ADDR"], "MASTER_PORT", os.environ["MASTER_PORT"])
    return rank, size


def check_place(address: str, host: str, port_name: str, port: str) -> None:
    """Checks where ranks will meet: torch would look for an impossible place until its time is over.

    Args:
        address: what the user calls the host.
        host: its name or address.
        port_name: what the user calls the port.
        port: its number.

    Raises:
        UserError: no port, or a host that nobody knows.
    """
    number = whole(port_name, port, 1, LARGEST_PORT)
    try:
        socket.getaddrinfo(host, number)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{address} is {host!r}, which is no host that can be found here: {reason}") from None


def whole(name: str, text: str, least: int, most: int | None = None) -> int:
    """Reads a whole number.

    Raises:
        UserError: it is none, or not within the limits.
    """
    # Nine digits are enough for anything here, and int() refuses some thousand.
    number = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
    if number is None or number < least or (most is not None and number > most):
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(f"{name} is {text!r}, allowed: {allowed}")
    return number
