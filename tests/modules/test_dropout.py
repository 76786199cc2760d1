"""Retained dropout (`--retain-dropout`) is training's dropout, in both kinds of networks and as in fairseq's own."""

from __future__ import annotations

import random

import pytest
import torch
from fairseq.modules import FairseqDropout

from tests import toy
from tests.stock import stock_twin

RATES = {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.1}
PLAIN = toy.space("embed", arbitrary_attention=[-1])


def _scores(model, seed: int = 5) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(**toy.batch()["net_input"])[0]


def _retained(model, modules=None):
    model.make_generation_fast_(retain_dropout=True, retain_dropout_modules=modules)
    return model


def test_retained_dropout_is_that_of_training():
    supernet = toy.supernet("neuron", **RATES)
    supernet.activate(supernet.space.sample(random.Random(3)))
    subnet = toy.supernet("neuron", **RATES).extract(supernet.architecture)
    for model in (supernet, subnet):
        training, plain = _scores(model.train()), _scores(model.eval())
        assert not torch.allclose(training, plain, atol=0.1)
        torch.testing.assert_close(_scores(_retained(model)), training, atol=1e-5, rtol=0)
        assert not torch.allclose(_scores(model, seed=6), training, atol=0.1)


def test_supernet_and_subnet_drop_alike():
    model = toy.supernet("neuron", no_dropout_scaling=True, router_dropout=0.5, **RATES).eval()
    subnet = model.extract(model.space.sample(random.Random(3)))
    assert torch.equal(_scores(_retained(model)), _scores(_retained(subnet)))


def test_stock_transformer_drops_alike():
    subnet = toy.supernet("shared", PLAIN, **RATES).extract()
    stock = stock_twin(subnet, **RATES)
    real = toy.batch()["target"].ne(1)
    found, expected = _scores(_retained(subnet)), _scores(_retained(stock))
    torch.testing.assert_close(found[real], expected[real], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["TransformerEncoder", "TransformerDecoderLayer", "MultiheadAttention"])
def test_modules_are_chosen_by_fairseqs_names(name):
    subnet = _retained(toy.supernet("shared", PLAIN, **RATES).extract(), [name])
    leaves = {m: n for n, m in subnet.named_modules() if isinstance(m, FairseqDropout)}
    retained = {n for m, n in leaves.items() if m.apply_during_inference}
    expected = {
        "TransformerEncoder": {"encoder.dropout_module"},
        "TransformerDecoderLayer": {
            f"decoder.layers.{i}.{kind}dropout_module" for i in range(3) for kind in ("", "ffn.activation_")
        },
        "MultiheadAttention": {n for n in leaves.values() if "attn." in n},
    }[name]
    assert retained == expected and expected
