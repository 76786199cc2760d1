"""The criterion against fairseq's own, and in-place distillation against its formula."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from torch.nn import functional as F

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.errors import UserError
from tests import toy


def _task():
    return SimpleNamespace(target_dictionary=toy.dictionary())


def test_without_distillation_it_is_fairseqs():
    model, sample = toy.supernet().eval(), toy.batch()
    ours = SupernetLabelSmoothedCrossEntropy(_task(), False, 0.1)(model, sample)
    theirs = LabelSmoothedCrossEntropyCriterion(_task(), False, 0.1)(model, sample)
    assert torch.equal(ours[0], theirs[0]) and ours[1] == theirs[1]
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_distillation_is_the_mixed_loss(weight):
    model, sample = toy.supernet().eval(), toy.batch()
    criterion = SupernetLabelSmoothedCrossEntropy(_task(), False, 0.1, inplace_distillation=weight)
    criterion(model, sample, keep_teacher=True)
    teacher = criterion.release_teacher()
    assert not teacher.requires_grad and criterion.kept is None
    model.activate(model.space.smallest())
    loss, _, _ = criterion(model, sample, teacher=teacher)
    hard, _, _ = LabelSmoothedCrossEntropyCriterion(_task(), False, 0.1)(model, sample)
    with torch.no_grad():
        lprobs = F.log_softmax(model(**sample["net_input"])[0], dim=-1).view(-1, toy.VOCABULARY)
        real = sample["target"].view(-1).ne(1)
        soft = (teacher.exp() * (teacher - lprobs)).sum(-1)[real].sum()
    torch.testing.assert_close(loss, (1 - weight) * hard + weight * soft, rtol=1e-5, atol=1e-4)


def test_weight_outside_its_range():
    with pytest.raises(UserError, match="--inplace-distillation is 1.5, allowed: 0 to 1"):
        SupernetLabelSmoothedCrossEntropy(_task(), False, 0.1, inplace_distillation=1.5)
