"""A criterion is told that a training begins, when it does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fairseq import checkpoint_utils

from fairseq_mos.compat.beginning import repair_unready_criterion


class Trainer:
    """What is asked of fairseq's."""

    def __init__(self, criterion, max_epoch: int):
        self.cfg = SimpleNamespace(optimization=SimpleNamespace(max_epoch=max_epoch))
        self.get_criterion, self.get_model = (lambda: criterion), (lambda: "the model")


@pytest.mark.parametrize(("epoch", "max_epoch", "begins"), [(1, 0, True), (2, 2, True), (3, 2, False), (1, -1, False)])
def test_a_criterion_is_told_unless_the_training_is_finished(monkeypatch, epoch, max_epoch, begins):
    loaded, told = ({"a": 1}, SimpleNamespace(next_epoch_idx=epoch)), []
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint", lambda cfg, trainer, **options: loaded)
    assert repair_unready_criterion() and not repair_unready_criterion()
    trainer = Trainer(SimpleNamespace(begin_training=told.append), max_epoch)
    assert checkpoint_utils.load_checkpoint(None, trainer, disable_iterator_cache=False) == loaded
    assert told == ["the model"] * begins
    # Most criterions ask for nothing.
    assert checkpoint_utils.load_checkpoint(None, Trainer(object(), max_epoch)) == loaded
