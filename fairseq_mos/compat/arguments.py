"""Flags of fairseq's commands that would send a run the wrong way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from fairseq_mos.compat._patch import is_replaced, replace
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError


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


def _raise_error(message: str) -> NoReturn:
    raise UserError(f"{message} (see --help)")


def repair_parser_errors() -> bool:
    """One line for arguments that argparse refuses, as for all other mistakes of the user.

    argparse prints the whole usage before it, which for fairseq-train are 150 lines. Parsers exist already when the
    plugin is imported, so theirs is replaced when they are used: all of them by `parse_args_and_arch`, and
    fairseq-preprocess's, which is parsed directly, by what adds its flags.
    """
    from fairseq import options

    def make(original: Callable) -> Callable:
        def function(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
            parser.error = _raise_error
            try:
                return original(parser, *args, **kwargs)
            except RuntimeError as error:
                if error.args:
                    raise
                # What parse_args_and_arch raises, without a word, for a training without a model.
                parser.error("the following arguments are required: --arch")

        return function

    first = replace(options, "parse_args_and_arch", "parser_errors", make)
    return replace(options, "add_preprocess_args", "parser_errors", make) or first


def repair_lists() -> bool:
    """Lets argparse refuse a list that is no Python, such as `--lr "0.1 0.2"`.

    `eval_str_list` (`dataclass/utils.py`) raises a SyntaxError, which argparse takes for a fault of the program.
    """
    from fairseq.dataclass import utils

    def make(original: Callable) -> Callable:
        def eval_str_list(x: Any, *args: Any, **kwargs: Any) -> list | None:
            try:
                return original(x, *args, **kwargs)
            except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
                raise argparse.ArgumentTypeError(f"{show(x)} is no list such as 1,2") from None

        return eval_str_list

    return replace(utils, "eval_str_list", "lists", make)


_HELP = ("-h", "--help")


def repair_help() -> bool:
    """Lets `--help` list the flags of the task, the model and the criterion that the command line names.

    `parse_args_and_arch` (`options.py`) parses twice, and adds these flags in between; but argparse prints its help and
    ends in the first pass.
    """
    from fairseq import options

    def make(original: Callable) -> Callable:
        def parse_args_and_arch(
            parser: argparse.ArgumentParser, input_args: list[str] | None = None, *args: Any, **kwargs: Any
        ) -> Any:
            words = _given(input_args)
            if any(word in _HELP for word in words):
                parse = parser.parse_known_args

                def without_help(*_: Any) -> Any:
                    del parser.parse_known_args  # type: ignore[method-assign]
                    found = parse([word for word in words if word not in _HELP])
                    # Training without a model ends before the second pass.
                    return parse(words) if getattr(found[0], "arch", "") is None else found

                parser.parse_known_args = without_help  # type: ignore[method-assign]
            return original(parser, input_args, *args, **kwargs)

        return parse_args_and_arch

    return replace(options, "parse_args_and_arch", "help", make)
