"""What gradients in place do to one leaf; that all networks get autograd's is in tests/families/test_contract.py."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fairseq_mos.modules import in_place
from fairseq_mos.modules.elastic import ElasticEmbedding, ElasticLinear
from fairseq_mos.modules.experts import mix_experts
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


@pytest.mark.parametrize("by_row", [False, True], ids=["layer", "neuron"])
@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("block", [1, 8, 10**6])
def test_a_mix_in_blocks(monkeypatch, by_row, experts, block):
    monkeypatch.setattr(in_place, "_BLOCK", block)
    torch.manual_seed(1)
    weight = torch.randn(experts, 7, 6, dtype=torch.double)
    factors = torch.rand(*(5,) * by_row, experts, dtype=torch.double)
    bias, x = torch.randn(7, dtype=torch.double), torch.randn(9, 4, dtype=torch.double)

    def run(fast: bool) -> list[torch.Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (weight, factors, bias, x)]
        w, f, b, inputs = leaves
        for _ in range(2):
            if fast:
                with gradients_in_place():
                    y = in_place.linear(inputs, w, b, SIZE, f)
            else:
                y = F.linear(inputs, mix_experts(w, f, *SIZE), b[:5])
            y.square().sum().backward()
        return [y.detach(), *(leaf.grad for leaf in leaves)]

    for ours, theirs in zip(run(True), run(False)):
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
