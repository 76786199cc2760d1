"""The criterion's sums over a batch, computed with less work than the criterion itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion, label_smoothed_nll_loss
from torch import nn

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.search.racing import Sums

_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 26}
"""Scores that are computed at a time: on a CPU few enough to stay in its cache."""


def batch_loss(criterion: nn.Module, model: nn.Module) -> Callable[[dict], Sums]:
    """Returns a function from a batch to its sums, which are the criterion's up to rounding.

    For label smoothing, scores over the vocabulary are computed for real target tokens only, some rows at a
    time, and no attention weights are kept. Any other criterion is called as it is.

    Args:
        criterion: the criterion, in eval mode.
        model: a supernet or subnet, in eval mode.
    """
    if type(criterion) not in (SupernetLabelSmoothedCrossEntropy, LabelSmoothedCrossEntropyCriterion):
        return lambda batch: _called(criterion, model, batch)
    if criterion.ignore_prefix_size:
        return lambda batch: _called(criterion, model, batch)
    return lambda batch: _label_smoothed(criterion, model, batch)


def _called(criterion: nn.Module, model: nn.Module, batch: dict) -> Sums:
    _, size, log = criterion(model, batch)
    # fairseq's cross_entropy logs no second value: its loss is the first without smoothing.
    return Sums(float(log["loss"]), float(log.get("nll_loss", log["loss"])), int(size), int(log["ntokens"]))


def _label_smoothed(criterion: nn.Module, model: nn.Module, batch: dict) -> Sums:
    # No layer has this number: attention weights, which nobody reads, are not computed.
    features, _ = model(**batch["net_input"], features_only=True, alignment_layer=-1)
    target = batch["target"]
    real = target.ne(criterion.padding_idx)
    features, target = features[real], target[real]
    rows = max(1, _ELEMENTS[features.device.type] // len(model.decoder.dictionary))
    loss = nll_loss = 0.0
    for part, wanted in zip(features.split(rows), target.split(rows)):
        scores = torch.log_softmax(model.output_layer(part), dim=-1, dtype=torch.float32)
        # There is no padding left to be ignored.
        sums = label_smoothed_nll_loss(scores, wanted, criterion.eps, ignore_index=None)
        loss, nll_loss = loss + sums[0].double(), nll_loss + sums[1].double()
    size = len(batch["target"]) if criterion.sentence_avg else batch["ntokens"]
    return Sums(float(loss), float(nll_loss), int(size), int(batch["ntokens"]))
