"""A finished training, started again, stays as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.compat.resuming import early_stopping_counter

logger = logging.getLogger(__name__)


def _limit_reached(trainer: Any) -> str | None:
    """The flag whose limit the loaded checkpoint has reached; the same on every rank."""
    updates, limits = trainer.get_num_updates(), trainer.cfg.optimization
    if updates == 0:  # nothing loaded, or weights alone (--finetune-from-model, --reset-optimizer)
        return None
    if 0 < limits.max_update <= updates:
        return f"--max-update {limits.max_update}"
    # Not `cumulative_training_time()`: every rank's own clock goes on.
    if 0 < limits.stop_time_hours < trainer._previous_training_time / 3600:
        return f"--stop-time-hours {limits.stop_time_hours}"
    patience = trainer.cfg.checkpoint.patience
    if 0 < patience <= getattr(early_stopping_counter(), "num_runs", 0):
        return f"--patience {patience}"
    return None


def repair_finished_training() -> bool:
    """Ends a training that had reached its limit before it does another step.

    `train` (`fairseq_cli/train.py`) looks at `--max-update`, `--stop-time-hours` and `--patience` after an
    update only, so that each further start of the same command trains one update more and overwrites
    `checkpoint_last.pt` and `checkpoint_best.pt`. `--max-epoch` and `--stop-min-lr` are looked at before.
    """
    from fairseq import checkpoint_utils

    def make(original: Callable) -> Callable:
        def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> tuple:
            loaded = original(cfg, trainer, **kwargs)
            reached = _limit_reached(trainer)
            if reached:
                logger.info(f"this training is finished: its checkpoint has reached {reached}")
                # `main` reads it next, and 0 would mean no limit.
                trainer.cfg.optimization.max_epoch = -1
            return loaded

        return load_checkpoint

    return replace(checkpoint_utils, "load_checkpoint", "finished_training", make)
