"""Optimizers and learning rate schedules whose flags do not fit together are named in one line."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError

_OF_FLAGS = (ArithmeticError, AssertionError, SyntaxError, TypeError, ValueError)


def _named(function: Callable, flag: str) -> Callable:
    """Turns what a function raises about its numbers into the user's mistake, and names the line that says it."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except _OF_FLAGS as error:
            if isinstance(error, UserError):
                raise
            line = traceback.extract_tb(error.__traceback__)[-1].line
            reason = ": ".join(filter(None, (str(error), line)))
            raise UserError(f"{flag} cannot work with its flags: {reason}") from error

    return guarded


def repair_schedule_errors() -> bool:
    """Names the optimizer or the schedule that its own flags break.

    `--lr-scheduler cosine --warmup-updates 10 --max-update 10` divides by zero in the last update, `tri_stage`
    without `--decay-steps` at once, and `polynomial_decay` ends in an assertion: all with a traceback.
    """
    from fairseq import optim
    from fairseq.optim import lr_scheduler

    def make_scheduler(original: Callable) -> Callable:
        def build_lr_scheduler(cfg: Any, optimizer: Any) -> Any:
            flag = f"--lr-scheduler {getattr(cfg, '_name', None) or getattr(cfg, 'lr_scheduler', '')}"
            scheduler = _named(original, flag)(cfg, optimizer)
            for name in ("step_begin_epoch", "step_update"):
                setattr(scheduler, name, _named(getattr(scheduler, name), flag))
            return scheduler

        return build_lr_scheduler

    def make_optimizer(original: Callable) -> Callable:
        def build_optimizer(cfg: Any, *args: Any, **kwargs: Any) -> Any:
            flag = f"--optimizer {getattr(cfg, '_name', None) or getattr(cfg, 'optimizer', '')}"
            return _named(original, flag)(cfg, *args, **kwargs)

        return build_optimizer

    first = replace(lr_scheduler, "build_lr_scheduler", "schedule_errors", make_scheduler)
    return replace(optim, "build_optimizer", "schedule_errors", make_optimizer) or first
