"""Flags of fairseq's commands that would send a run the wrong way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import is_replaced, replace


def _given(input_args: list[str] | None) -> list[str]:
    return list(sys.argv[1:] if input_args is None else input_args)


def _has_flag(input_args: list[str] | None, flag: str) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in _given(input_args))


def _adjust(tag: str, change: Callable[[argparse.Namespace, list[str] | None], None]) -> bool:
    """Lets `change` correct what `options.parse_args_and_arch` returns."""
    from fairseq import options

    def make(original: Callable) -> Callable:
        def parse_args_and_arch(
            parser: argparse.ArgumentParser,
            input_args: list[str] | None = None,
            parse_known: bool = False,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            result = original(parser, input_args, parse_known, *args, **kwargs)
            change(result[0] if parse_known else result, input_args)
            return result

        return parse_args_and_arch

    return replace(options, "parse_args_and_arch", tag, make)


def _needs_bf16() -> bool:
    from fairseq import options

    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("--bf16", "--fp16"):
        parser.add_argument(flag, action="store_true")
    for flag in ("--batch-size", "--max-tokens", "--seed"):
        parser.add_argument(flag, type=int)
    return bool(options.parse_args_and_arch(parser, ["--bf16"]).tpu)


def repair_bf16() -> bool:
    """Keeps `--bf16` on the device at hand.

    `parse_args_and_arch` (`options.py`) takes `--bf16` for a wish for a TPU (`args.tpu = True`) and the
    trainer dies looking for one. With torch_xla installed that reading is right and stays.
    """
    from fairseq import utils

    if utils.xm is not None or not _needs_bf16():
        return False

    def change(args: argparse.Namespace, input_args: list[str] | None) -> None:
        if getattr(args, "bf16", False) and not _has_flag(input_args, "--tpu"):
            args.tpu = False

    return _adjust("bf16", change)


def repair_cpu_defaults() -> bool:
    """Makes `--cpu` mean one process and an optimizer that a CPU can run, unless told otherwise.

    `add_distributed_training_args` (`options.py`) sets the world size to the number of GPUs even with
    `--cpu`, and `FP16Optimizer` (`optim/fp16_optimizer.py`) flattens gradients on the current CUDA
    device even where there is none.
    """
    import torch

    def change(args: argparse.Namespace, input_args: list[str] | None) -> None:
        on_cpu = getattr(args, "cpu", False) or not torch.cuda.is_available()
        if not on_cpu or getattr(args, "tpu", False):
            return
        if hasattr(args, "distributed_world_size") and not _has_flag(input_args, "--distributed-world-size"):
            args.distributed_world_size = 1
        if getattr(args, "fp16", False):
            args.fp16_no_flatten_grads = True

    return _adjust("cpu_defaults", change)


def repair_validate_task() -> bool:
    """Lets fairseq-validate run without `--task`, which it takes from the checkpoint anyway.

    `get_validation_parser` (`options.py`) has no default task, and `parse_args_and_arch` then looks up
    `None` among the tasks. `translation` only decides which flags are understood.
    """
    from fairseq import options

    if is_replaced(options, "parse_args_and_arch", "validate_task"):
        return False

    def make(original: Callable) -> Callable:
        def parse_args_and_arch(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
            known = {action.dest for action in parser._actions}
            if "task" in known and parser.get_default("task") is None:
                parser.set_defaults(task="translation")
            return original(parser, *args, **kwargs)

        return parse_args_and_arch

    return replace(options, "parse_args_and_arch", "validate_task", make)
