"""The processes that share a search: fairseq's and torchrun's ranks, or this process alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from fairseq_mos.errors import UserError

Item = TypeVar("Item")
Value = TypeVar("Value")

TIMEOUT = timedelta(hours=12)
"""How long ranks wait for each other: one may measure for long while the others have nothing to do."""


class Ranks:
    """All ranks run the same program; :meth:`share` splits the work between them.

    Args:
        rank: this process's number.
        size: how many there are; more than 1 needs an initialised `torch.distributed`.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @classmethod
    @contextmanager
    def from_environment(cls, cpu: bool = False) -> Iterator[Ranks]:
        """Joins the ranks that torchrun, :mod:`fairseq_mos.search.launch` or another launcher has started.

        Launchers tell through `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`.

        Without a launcher, this process is alone.

        Args:
            cpu: stay on the CPU where there are GPUs.

        Raises:
            UserError: the launcher's variables are incomplete.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            yield cls()
            return
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise UserError(f"WORLD_SIZE is {size} but {', '.join(missing)} is not set: start the ranks with torchrun")
        import torch
        from torch import distributed

        if torch.cuda.is_available() and not cpu:
            gpus = torch.cuda.device_count()
            local = int(os.environ.get("LOCAL_RANK", int(os.environ["RANK"]) % gpus))
            if local >= gpus:
                raise UserError(f"there are {gpus} GPUs here, too few for process {local + 1}: start {gpus} at most")
            torch.cuda.set_device(local)
        # What ranks exchange are small Python objects: gloo does that on every machine.
        distributed.init_process_group("gloo", timeout=TIMEOUT)
        try:
            yield cls(distributed.get_rank(), size)
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
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _exchange(self, value, error: Exception | None) -> list:
        from torch import distributed

        description = None
        if error is not None:
            description = (isinstance(error, UserError), str(error) or type(error).__name__, self.rank)
        gathered: list = [None] * self.size
        distributed.all_gather_object(gathered, (value, description))
        failures = [failure for _, failure in gathered if failure is not None]
        if failures:
            if error is not None and not isinstance(error, UserError):
                raise error
            user, message, rank = max(failures, key=lambda failure: failure[0])
            raise UserError(message) if user else RuntimeError(f"rank {rank}: {message}")
        return [part for part, _ in gathered]
