"""Dropout: training's own way of drawing, and retained dropout, which is fairseq's in both kinds of networks."""

from __future__ import annotations

import random

import pytest
import torch
from fairseq.modules import FairseqDropout

from fairseq_mos.modules.dropout import Dropout
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


@pytest.mark.parametrize("probability", [0.003, 0.1, 0.5])
def test_training_drops_as_often_as_asked_for(probability):
    torch.manual_seed(1)
    x = torch.full((333, 1001), 3.0, requires_grad=True)
    y = Dropout(probability)(x)
    dropped = y == 0
    share, deviation = dropped.double().mean().item(), (probability * (1 - probability) / x.numel()) ** 0.5
    assert abs(share - probability) < 4 * deviation + 2**-17
    # What is kept makes up for it, by the probability that 16 bits can express.
    factor = 2**16 / (2**16 - round(2**16 * probability))
    torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 3 * factor))
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / 3)
    # Neighbours have bits of one number, and are independent nevertheless.
    flat = dropped.flatten().double()
    for distance in (1, 2, 3, 4):
        both = (flat[:-distance] * flat[distance:]).mean().item()
        assert abs(both - probability**2) < 5 * (probability**2 / x.numel()) ** 0.5


def test_a_seed_gives_one_mask_for_any_size():
    def drawn(size: int) -> torch.Tensor:
        torch.manual_seed(3)
        return Dropout(0.4)(torch.ones(size))

    assert torch.equal(drawn(7), drawn(7)) and torch.equal(drawn(7), drawn(8)[:7])
    assert not torch.equal(drawn(64), drawn(65)[1:])


@pytest.mark.parametrize("probability", [0.0, 1e-9, 1.0])
def test_the_ends_are_fairseqs(probability):
    x = torch.ones(100)
    assert torch.equal(Dropout(probability)(x), FairseqDropout(probability)(x))


def test_outside_training_in_fp32_it_is_fairseqs():
    def both(x: torch.Tensor, change) -> list[torch.Tensor]:
        found = []
        for kind in (Dropout, FairseqDropout):
            module = kind(0.3)
            change(module)
            torch.manual_seed(4)
            found.append(module(x))
        return found

    assert torch.equal(*both(torch.ones(50), lambda module: module.eval()))
    assert torch.equal(*both(torch.ones(50), lambda module: module.eval().make_generation_fast_("", True)))
    for dtype in (torch.float64, torch.bfloat16):
        ours, theirs = both(torch.ones(50, dtype=dtype), lambda module: module.train())
        assert torch.equal(ours, theirs) and ours.dtype == dtype and (ours == 0).any()


def test_retained_dropout_is_that_of_training():
    supernet = toy.supernet("neuron", **RATES)
    supernet.activate(supernet.space.sample(random.Random(3)))
    subnet = toy.supernet("neuron", **RATES).extract(supernet.architecture)
    for model in (supernet, subnet):
        # In fp64 training draws as fairseq does, too.
        training, plain = _scores(model.double().train()), _scores(model.eval())
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
