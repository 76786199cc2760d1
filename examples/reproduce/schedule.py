"""Jobs side by side, each tried again once; no failure keeps the others from their turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pipeline.config import PipelineError

Item = TypeVar("Item")
Place = TypeVar("Place")

ATTEMPTS = 2
"""In one run; the next run tries again."""


def work_off(
    jobs: Iterable[Item],
    places: Sequence[Place],
    do: Callable[[Item, Place], None],
    failed: Callable[[Item, PipelineError], None],
) -> list[Item]:
    """Does all jobs in their order, one a place at a time.

    The threads end with the process and do not keep it alive: what they run ends with it, see `pipeline.attached`.

    Args:
        jobs: what to do.
        places: where: a process slot or a GPU each.
        do: does a job.
        failed: told about each failed attempt.

    Returns:
        The jobs that failed at every attempt; bad input (exit code 2) is not tried again.
    """
    waiting = deque((job, 1) for job in jobs)
    lost: list[Item] = []
    broken: list[BaseException] = []
    lock = threading.Lock()

    def work(place: Place) -> None:
        while not broken:
            with lock:
                if not waiting:
                    return
                job, attempt = waiting.popleft()
            try:
                do(job, place)
            except PipelineError as error:
                with lock:
                    failed(job, error)
                    if attempt < ATTEMPTS and error.code != 2:
                        waiting.append((job, attempt + 1))
                    else:
                        lost.append(job)
            except BaseException as error:  # a full disk, a mistake in here: everybody should know
                broken.append(error)

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        # With a limit, an interruption is heard in between.
        while thread.is_alive():
            thread.join(0.2)
    if broken:
        raise broken[0]
    return lost
