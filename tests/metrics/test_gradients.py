"""Gradient conflict in closed form, and of a toy supernet."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import nn

from fairseq_mos.metrics.gradients import Conflict, conflicts
from fairseq_mos.modules.elastic import ElasticLayerNorm
from tests import toy


class _Toy(nn.Module):
    """An architecture is the gradient that it has for a norm's weight; its bias it leaves alone."""

    def __init__(self):
        super().__init__()
        self.norm, self.free = ElasticLayerNorm(2), nn.Parameter(torch.ones(2))
        self.architecture = None

    def activate(self, architecture):
        self.architecture = architecture


def _loss(model, batch):
    gradient = torch.tensor(model.architecture)
    return batch * ((model.norm.weight + model.free) * gradient).sum()


def test_cosines_of_given_gradients():
    angles = [math.cos(math.pi / 3), math.sin(math.pi / 3)]
    found = conflicts(_Toy(), 2.0, [(1.0, 1e-30), tuple(angles), (-3.0, 1e-30)], _loss)
    # 60, 180 and 120 degrees.
    assert found.keys() == {"norm", "other"}
    for conflict in found.values():
        assert (conflict.negative, conflict.count) == (2 / 3, 3)
        assert conflict.cosine == pytest.approx((0.5 - 1 - 0.5) / 3)


def test_a_cosine_does_not_depend_on_the_size_of_gradients():
    for scale in (1.0, 1e-9):
        found = conflicts(_Toy(), scale, [(1.0, 1.0), (1.0, -2.0)], _loss)
        assert found["norm"].cosine == pytest.approx(-1 / math.sqrt(10))


def test_what_one_alone_uses_does_not_count():
    found = conflicts(_Toy(), 1.0, [(2.0, 0.0), (0.1, 70.0), (0.0, -5.0)], _loss)
    # The first two share one entry and agree, the last two share another and do not; the others share none.
    assert found["norm"] == Conflict(0.5, 0.0, 2)


def _nll(model, batch):
    scores = model(**batch["net_input"])[0].log_softmax(-1)
    return -scores.gather(-1, batch["target"].unsqueeze(-1)).sum()


def test_kinds_of_a_supernet():
    model, batch = toy.supernet().eval(), toy.batch()
    model.activate(model.space.smallest())
    arch = model.space.sample(random.Random(1))
    same = conflicts(model, batch, [arch, arch], _nll)
    assert same.keys() == {"attention", "feed-forward", "norm", "embedding", "router"}
    for conflict in same.values():
        assert conflict.negative == 0 and conflict.cosine == pytest.approx(1)
    # Two encoders' worth of embeddings are one tensor.
    assert same["embedding"].count == 1
    assert model.architecture == model.space.smallest() and all(p.grad is None for p in model.parameters())
    opposite = conflicts(model, batch, [arch, model.space.largest()], lambda *args: _sign(model, arch) * _nll(*args))
    agreeing = conflicts(model, batch, [arch, model.space.largest()], _nll)
    for kind, conflict in agreeing.items():
        assert opposite[kind].cosine == pytest.approx(-conflict.cosine)
        assert opposite[kind].negative == pytest.approx(1 - conflict.negative)


def _sign(model, arch) -> int:
    return 1 if model.architecture == arch else -1


def test_a_cosine_is_that_of_the_gradients_of_backward():
    model, batch = toy.supernet().eval(), toy.batch()
    pair, gradients = (model.space.largest(), model.space.smallest()), []
    for arch in pair:
        model.activate(arch)
        model.zero_grad()
        _nll(model, batch).backward()
        gradients.append(model.encoder.embed_tokens.weight.grad[:, :24].flatten().clone())
    expected = nn.functional.cosine_similarity(*gradients, dim=0).item()
    assert conflicts(model, batch, pair, _nll)["embedding"].cosine == pytest.approx(expected, abs=1e-5)
