"""Several processes on CPU either train together or say that they do not."""

from __future__ import annotations

import argparse
import os
import urllib.parse
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError
from fairseq_mos.ranges import PROCESSES, Range
from fairseq_mos.search.ranks import check_place

PORT = Range(int, 1, 65_535)

_HOW = "start it with `bash examples/launch_cpu.sh {} fairseq-train ...`"


def _check_numbers(launch: Any) -> None:
    """Refuses what a launcher, or the user in its place, says wrongly of the processes.

    Raises:
        UserError: names the variable or the flag.
    """
    ranges = {"WORLD_SIZE": PROCESSES, "RANK": Range(int, 0, PROCESSES.high - 1), "MASTER_PORT": PORT}
    for name, allowed in ranges.items():
        text = os.environ.get(name)
        if text is not None:
            try:
                allowed(text)
            except argparse.ArgumentTypeError as error:
                raise UserError(f"environment variable {name}: {error}") from error
    method = launch.distributed_init_method
    several = max(launch.distributed_world_size, int(os.environ.get("WORLD_SIZE", "1"))) > 1
    host = os.environ.get("MASTER_ADDR")
    if host is not None and several and (method is None or method.startswith("env://")):
        check_place("MASTER_ADDR", host, "MASTER_PORT", os.environ.get("MASTER_PORT", str(PORT.low)))
    meeting = urllib.parse.urlsplit(method) if method and method.startswith("tcp://") else None
    if meeting is None:
        return
    try:
        allowed = meeting.port in PORT
    except ValueError:
        allowed = False
    if not (meeting.hostname and allowed):
        raise UserError(f"--distributed-init-method is {method!r}, allowed: tcp://HOST:PORT with a port of {PORT}")
    check_place("the host of --distributed-init-method", meeting.hostname, "its port", str(meeting.port))


def _stray_rank(size: int, init_method: str | None) -> UserError | None:
    """The error for one of several launched processes that would train all by itself, else None."""
    launched = os.environ.get("WORLD_SIZE", "1")
    if size != 1 or init_method is not None or "RANK" not in os.environ:
        return None
    if int(launched) <= 1:
        return None
    return UserError(
        f"a launcher started {launched} processes (WORLD_SIZE), but --distributed-world-size is 1: each "
        f"would train alone and overwrite the others' checkpoints; on CPU {_HOW.format(launched)}"
    )


def repair_silent_launch() -> bool:
    """Refuses launches that train nothing, or the same thing several times.

    On CPU `call_main` (`distributed/utils.py`) spawns as many processes as there are GPUs: none. It
    then asserts, divides by the number of GPUs, or ends with exit code 0. Under torchrun without
    `--distributed-world-size` every process takes itself for the only one.
    """
    import torch
    from fairseq.distributed import utils

    def make(original: Callable) -> Callable:
        def call_main(cfg: Any, main: Callable, **kwargs: Any) -> Any:
            launch, common = cfg.distributed_training, cfg.common
            _check_numbers(launch)
            size = launch.distributed_world_size
            on_cpu = (common.cpu or not torch.cuda.is_available()) and not common.tpu
            refusal = UserError(
                f"--distributed-world-size {size} on CPU needs a process per rank: {_HOW.format(size)}"
            )
            if on_cpu and size > 1:
                if launch.distributed_init_method is None:
                    try:
                        utils.infer_init_method(launch)
                    except (AssertionError, ZeroDivisionError) as error:
                        raise refusal from error
                if launch.distributed_init_method is None or not launch.distributed_no_spawn:
                    raise refusal
            elif os.path.basename(main.__code__.co_filename) == "train.py":
                stray = _stray_rank(size, launch.distributed_init_method)
                if stray:
                    raise stray
            return original(cfg, main, **kwargs)

        return call_main

    return replace(utils, "call_main", "silent_launch", make)


def repair_stray_rank() -> bool:
    """The second half of :func:`repair_silent_launch` for fairseq-hydra-train.

    It imports the plugin after `call_main`, so the check is repeated where the trainer is built.
    """
    from fairseq.trainer import Trainer

    def make(original: Callable) -> Callable:
        def __init__(self: Any, cfg: Any, *args: Any, **kwargs: Any) -> None:
            launch = getattr(cfg, "distributed_training", None)
            if launch is not None:
                _check_numbers(launch)
                stray = _stray_rank(launch.distributed_world_size, launch.distributed_init_method)
                if stray:
                    raise stray
            original(self, cfg, *args, **kwargs)

        return __init__

    return replace(Trainer, "__init__", "stray_rank", make)
