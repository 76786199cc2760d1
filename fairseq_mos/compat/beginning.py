"""What a criterion needs for training is there before the first update, or is said to be missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import replace


def repair_unready_criterion() -> bool:
    """Tells a criterion that a training begins, by its `begin_training(model)`, where it has one.

    fairseq builds criterions alike for training and for validation, and nothing says which: what training alone
    needs, such as a teacher, would be missed at the first update, behind a checkpoint of the crash. Here
    (`checkpoint_utils.load_checkpoint`, which only trainings call) the model is in place and an earlier checkpoint
    read; a training that is finished needs nothing more.
    """
    from fairseq import checkpoint_utils

    def make(original: Callable) -> Callable:
        def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> tuple:
            extra_state, epoch_itr = original(cfg, trainer, **kwargs)
            begin = getattr(trainer.get_criterion(), "begin_training", None)
            # As `main` of `fairseq_cli/train.py` asks; see also `repair_finished_training`.
            if begin is not None and epoch_itr.next_epoch_idx <= (trainer.cfg.optimization.max_epoch or math.inf):
                begin(trainer.get_model())
            return extra_state, epoch_itr

        return load_checkpoint

    return replace(checkpoint_utils, "load_checkpoint", "unready_criterion", make)
