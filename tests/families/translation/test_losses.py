"""The fast sums against the criterion's own."""

from __future__ import annotations

import pytest
import torch
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.families.translation import losses
from fairseq_mos.families.translation.losses import batch_loss
from tests import toy


def criterions():
    task = toy.task()
    return {
        "supernet": SupernetLabelSmoothedCrossEntropy(task, False, 0.1),
        "sentence_avg": SupernetLabelSmoothedCrossEntropy(task, True, 0.3),
        "stock": LabelSmoothedCrossEntropyCriterion(task, False, 0.0),
        "prefix": LabelSmoothedCrossEntropyCriterion(task, False, 0.1, ignore_prefix_size=1),
        "cross_entropy": CrossEntropyCriterion(task, False),
    }


@pytest.mark.parametrize("name", criterions())
@pytest.mark.parametrize("rows", [3, 1000])
@torch.no_grad()
def test_equal_to_the_criterion(name, rows, monkeypatch):
    monkeypatch.setitem(losses._ELEMENTS, "cpu", rows * toy.VOCABULARY)
    criterion, model = criterions()[name].eval(), toy.supernet().eval()
    model.activate(model.space.smallest())
    for seed in range(3):
        batch = toy.batch(seed=seed)
        _, size, log = criterion(model, batch)
        found = batch_loss(criterion, model)(batch)
        assert (found.sample_size, found.tokens) == (size, log["ntokens"])
        assert found.loss == pytest.approx(float(log["loss"]), rel=1e-6)
        assert found.nll_loss == pytest.approx(float(log.get("nll_loss", log["loss"])), rel=1e-6)


@torch.no_grad()
def test_no_attention_weights_are_computed(monkeypatch):
    from fairseq_mos.modules.attention import Attention

    def refuse(*arguments):
        raise AssertionError("attention weights were computed")

    monkeypatch.setattr(Attention, "_weights", staticmethod(refuse))
    model = toy.supernet().eval()
    batch_loss(criterions()["supernet"].eval(), model)(toy.batch())
    with pytest.raises(AssertionError, match="attention weights"):
        model(**toy.batch()["net_input"])
