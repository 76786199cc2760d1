"""What gradients in place do to one leaf; that all networks get autograd's is in tests/families/test_contract.py."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fairseq_mos.modules import in_place, mixing
from fairseq_mos.modules.elastic import ElasticEmbedding, ElasticLinear
from fairseq_mos.modules.experts import mix_experts, scale_and_shift
from fairseq_mos.modules.in_place import gradients_in_place

SIZE = (5, 4)


def _leaf(requires_grad: bool = True) -> tuple[ElasticLinear, torch.Tensor]:
    torch.manual_seed(1)
    leaf = ElasticLinear(6, 7).double().requires_grad_(requires_grad)
    leaf.activate(SIZE[1], SIZE[0])
    return leaf, torch.randn(2, 3, SIZE[1], dtype=torch.double, requires_grad=True)


def test_the_prefix_of_what_is_there_is_added_to():
    leaf, x = _leaf()
    leaf.weight.grad, leaf.bias.grad = torch.ones_like(leaf.weight), torch.ones_like(leaf.bias)
    before = leaf.weight.grad
    with gradients_in_place():
        leaf(x).sum().backward()
    assert leaf.weight.grad is before
    expected = torch.ones(7, 6, dtype=torch.double)
    expected[:5, :4] += x.detach().sum((0, 1))
    torch.testing.assert_close(before, expected)
    torch.testing.assert_close(leaf.bias.grad, torch.tensor([7.0] * 5 + [1.0] * 2, dtype=torch.double))
    torch.testing.assert_close(x.grad, leaf.weight[:5, :4].sum(0).expand_as(x))


def test_outside_the_context_autograd_sees_the_gradients():
    leaf, x = _leaf()
    with gradients_in_place():
        pass
    (grad,) = torch.autograd.grad(leaf(x).sum(), [leaf.weight])
    assert grad[:5, :4].abs().min() > 0 and grad[5:].abs().max() == 0 and leaf.weight.grad is None


def test_frozen_parameters_get_none():
    leaf, x = _leaf(requires_grad=False)
    with gradients_in_place():
        leaf(x).sum().backward()
        assert not in_place.wanted(leaf.weight)
    assert leaf.weight.grad is None and leaf.bias.grad is None and x.grad is not None
    leaf.weight.requires_grad_()
    with gradients_in_place():
        leaf(x).sum().backward()
    assert leaf.weight.grad is not None and leaf.bias.grad is None


def test_autocast_and_no_grad_take_the_usual_way():
    leaf, _ = _leaf()
    with gradients_in_place():
        assert in_place.wanted(leaf.weight)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not in_place.wanted(leaf.weight)
        with torch.no_grad():
            assert not in_place.wanted(leaf.weight)


@pytest.mark.parametrize("way", ["layer", "neuron", "none", "one"])
@pytest.mark.parametrize("numbers", [0, 1, 2])
@pytest.mark.parametrize("tokens", [3, 9], ids=["few tokens", "many tokens"])
@pytest.mark.parametrize("experts", [2, 3])
@pytest.mark.parametrize("block", [1, 8, 10**6])
def test_mixes_and_modulation(monkeypatch, way, numbers, tokens, experts, block):
    """Of experts, of a weight without, and of one expert alone, in blocks and whole, by outputs and by weights."""
    monkeypatch.setattr(mixing, "_BLOCK", block)
    torch.manual_seed(1)
    several = (experts,) * (way != "none")
    expert = 1 if way == "one" else None
    weight = torch.randn(*several, 7, 6, dtype=torch.double)
    mix = torch.rand(*(5,) * (way == "neuron"), experts, dtype=torch.double)
    modulation = torch.randn(5, numbers, dtype=torch.double)
    # Without a bias there is no shift.
    bias = torch.randn(*several, 7, dtype=torch.double) if numbers != 1 else None
    x = torch.randn(tokens, 2, 4, dtype=torch.double)
    mixes = way in ("layer", "neuron")

    def run(fast: bool) -> list[torch.Tensor]:
        tensors = (weight, bias, mix, modulation, x)
        w, b, a, g, inputs = leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
        for _ in range(2):
            # Which add up to one.
            own, modulated = a.softmax(-1) if mixes else None, g if numbers else None
            if fast:
                with gradients_in_place():
                    y = in_place.linear(inputs, w, b, SIZE, own, modulated, expert)
            else:
                scale, shift = scale_and_shift(modulated)
                dense, offset = (w, b) if expert is None else (w[1], None if b is None else b[1])
                if mixes:
                    dense = mix_experts(w, own, *SIZE)
                    offset = None if b is None else mix_experts(b.unsqueeze(-1), own, SIZE[0], 1).squeeze(-1)
                dense = dense[:5, :4] if scale is None else dense[:5, :4] * scale.unsqueeze(-1)
                offset = None if b is None else offset[:5]
                y = F.linear(inputs, dense, offset if shift is None else offset + shift)
            y.square().sum().backward()
        used = leaves[:2] + [a] * mixes + [g] * (numbers > 0) + [inputs]
        return [y.detach(), *(leaf.grad for leaf in used if leaf is not None)]

    for ours, theirs in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("tokens", [3, 9])
def test_modulation_of_frozen_biases(tokens):
    leaf, _ = _leaf()
    leaf.bias.requires_grad_(False)
    modulation = torch.rand(5, 2, dtype=torch.double, requires_grad=True)
    x = torch.randn(tokens, 4, dtype=torch.double)
    with gradients_in_place():
        in_place.linear(x, leaf.weight, leaf.bias, SIZE, modulation=modulation).sum().backward()
    assert leaf.bias.grad is None
    products = x @ leaf.weight.detach()[:5, :4].t()
    expected = torch.stack([products.sum(0), torch.full((5,), float(tokens), dtype=torch.double)], -1)
    torch.testing.assert_close(modulation.grad, expected)


def test_a_row_of_outputs():
    leaf, _ = _leaf()
    x = torch.randn(6, dtype=torch.double, requires_grad=True)
    found = []
    for fast in (True, False):
        for parameter in (leaf.weight, leaf.bias, x):
            parameter.grad = None
        for _ in range(2):
            with gradients_in_place() if fast else torch.enable_grad():
                y = in_place.row(x, leaf.weight, leaf.bias, (5,))
            y.square().sum().backward()
        found.append([y.detach(), leaf.weight.grad, leaf.bias.grad, x.grad])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_layers_that_are_computed_again_in_the_backward_pass():
    leaf, x = _leaf()
    with gradients_in_place():
        leaf(x).square().sum().backward()
        once = leaf.weight.grad.clone()
        checkpoint(leaf, x, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(leaf.weight.grad, 2 * once)


def test_embeddings_add_rows_and_leave_padding_alone():
    torch.manual_seed(1)
    table = ElasticEmbedding(9, 6, padding_idx=1)
    table.activate(4)
    tokens = torch.tensor([[2, 3, 2], [5, 1, 1]])

    def run(way) -> torch.Tensor:
        table.weight.grad = None
        with way:
            x = table(tokens)
            (x.square().sum() + table.scores(x).square().sum()).backward()
        return table.weight.grad

    fast = run(gradients_in_place())
    torch.testing.assert_close(fast, run(torch.enable_grad()))
    assert fast[:, 4:].abs().max() == 0
