"""Flags of optimizers and schedules that do not fit together."""

from __future__ import annotations

import pytest
import torch
from fairseq import optim, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import lr_scheduler

import fairseq_mos
from fairseq_mos.errors import UserError

fairseq_mos.register()


def built(scheduler: str, *flags: str):
    words = ["data", "--arch", "transformer", "--optimizer", "adam", "--lr", "0.1", "--lr-scheduler", scheduler, *flags]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), words))
    optimizer = optim.build_optimizer(cfg.optimizer, [torch.nn.Parameter(torch.ones(1))])
    return lr_scheduler.build_lr_scheduler(cfg.lr_scheduler, optimizer)


@pytest.mark.parametrize(
    ("scheduler", "flags", "reason"),
    [
        ("tri_stage", ["--hold-steps", "5"], "float division by zero: .*self.decay_steps"),
        ("tri_stage", ["--phase-ratio", "0.5,0.5,0.5", "--max-update", "9"], "phase ratios must add up to 1"),
        ("cosine", [], "Either --max_update or --lr-period-updates must be set"),
        ("step", ["--min-lr", "0.2"], "assert self.max_lr > self.min_lr"),
        ("triangular", ["--max-lr", "0.01"], "max_lr must be more than lr"),
        ("manual", ["--epoch2lr", "{'x': 1}"], "invalid literal for int"),
        ("inverse_sqrt", ["--lr", "0.1,0.2"], "Cannot use a fixed learning rate schedule with inverse_sqrt"),
    ],
)
def test_schedules_that_cannot_be_built(scheduler, flags, reason):
    with pytest.raises(UserError, match=f"^--lr-scheduler {scheduler} cannot work with its flags: {reason}"):
        built(scheduler, *flags)


def test_schedules_that_break_later():
    schedule = built("cosine", "--warmup-updates", "10", "--max-update", "10")
    assert schedule.step_update(5) == pytest.approx(0.05)
    with pytest.raises(UserError, match="^--lr-scheduler cosine cannot work with its flags: .*division by zero"):
        schedule.step_update(10)


def test_optimizers():
    with pytest.raises(UserError, match="^--optimizer adadelta cannot work with its flags: Invalid rho value: 2.0"):
        built("fixed", "--optimizer", "adadelta", "--adadelta-rho", "2")
