"""The mixing function: values and gradients against plain autograd, initialisation, AMP."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos.errors import UserError
from fairseq_mos.modules.experts import mix_experts
from fairseq_mos.modules.init import EXPERT_INITS, experts_, xavier_uniform_


def _plain(weight, mix, rows, columns):
    factors = mix[:rows].T.unsqueeze(-1) if mix.dim() == 2 else mix.view(-1, 1, 1)
    return (weight[:, :rows, :columns] * factors).sum(0)


@pytest.mark.parametrize("shape", [(3,), (6, 3)], ids=["layer", "neuron"])
@pytest.mark.parametrize("size", [(6, 5), (4, 2)], ids=["full", "prefix"])
def test_values_and_gradients(shape, size):
    torch.manual_seed(0)
    weight = torch.randn(3, 6, 5, dtype=torch.double, requires_grad=True)
    mix = torch.rand(shape, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(mix_experts(weight, mix, *size), _plain(weight, mix, *size))
    assert torch.autograd.gradcheck(lambda w, a: mix_experts(w, a, *size), (weight, mix))


def test_one_hot_is_exact():
    weight = torch.randn(2, 4, 3)
    mix = torch.tensor([[0.0, 1.0]]).expand(4, 2)
    assert torch.equal(mix_experts(weight, mix, 4, 3), weight[1])


@pytest.mark.parametrize("m", [2, 6])
def test_initialisation_keeps_or_shrinks_the_spread(m):
    torch.manual_seed(0)
    weights = {name: experts_(torch.empty(m, 300, 300), name, xavier_uniform_) for name in EXPERT_INITS}
    expected = (2 / 600) ** 0.5
    uniform = {name: w.mean(0).std().item() / expected for name, w in weights.items()}
    assert uniform["centered"] == pytest.approx(1, abs=0.02)
    assert uniform["copy"] == pytest.approx(1, abs=0.02)
    assert uniform["published"] == pytest.approx(m**-0.5, abs=0.02)
    one = weights["centered"][0].std().item() / expected
    assert one == pytest.approx(1.25**0.5, abs=0.02)
    assert torch.equal(weights["copy"][0], weights["copy"][-1])


def test_unknown_initialisation():
    with pytest.raises(UserError, match="--expert-init 'x' is unknown; allowed: centered, published, copy"):
        experts_(torch.empty(2, 3, 3), "x", xavier_uniform_)


def test_mixing_under_autocast_keeps_full_precision():
    weight, mix = torch.randn(2, 4, 3), torch.rand(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mix_experts(weight, mix, 4, 3).dtype == torch.float32
