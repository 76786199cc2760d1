"""Experts of low rank: their formula, what they cost, and that they start as plain sharing."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos.errors import UserError
from fairseq_mos.modules.low_rank import LowRankLinear
from tests import toy


def _logits(model):
    return model(**toy.batch()["net_input"])[0]


def _leaf(mix: list[float], size: tuple[int, int], rank: int = 2) -> tuple[LowRankLinear, torch.Tensor]:
    torch.manual_seed(1)
    leaf = LowRankLinear(5, 6, num_experts=len(mix), rank=rank).double()
    torch.nn.init.normal_(leaf.up)
    torch.nn.init.normal_(leaf.bias)
    leaf.activate(*size)
    return leaf, torch.tensor(mix, dtype=torch.float64)


def _formula(leaf, mix, rows, columns):
    products = [leaf.up[:, j * leaf.rank : (j + 1) * leaf.rank] @ leaf.experts[j] for j in range(len(mix))]
    return (leaf.weight + sum(share * product for share, product in zip(mix, products)))[:rows, :columns]


@pytest.mark.parametrize("size", [(5, 6), (3, 6), (5, 4), (3, 4)])
def test_the_formula_and_its_gradients(size):
    leaf, mix = _leaf([0.2, 0.3, 0.5], size)
    columns, rows = size
    scale, shift = torch.linspace(0.5, 1.5, rows).double(), torch.linspace(-1, 1, rows).double()
    weight, bias = leaf._compute(mix)
    torch.testing.assert_close(weight, _formula(leaf, mix, rows, columns))
    assert torch.equal(bias, leaf.bias[:rows])
    scaled, shifted = leaf._compute(mix, torch.stack([scale - 1, shift], -1))
    torch.testing.assert_close(scaled, scale.unsqueeze(-1) * weight)
    torch.testing.assert_close(shifted, bias + shift)

    names = [name for name, _ in leaf.named_parameters()]

    def compute(mix, *tensors):
        return torch.func.functional_call(_Active(leaf, mix), dict(zip((f"leaf.{n}" for n in names), tensors)), ())

    assert torch.autograd.gradcheck(compute, (mix.requires_grad_(), *leaf.parameters()))


class _Active(torch.nn.Module):
    def __init__(self, leaf, mix):
        super().__init__()
        self.leaf, self.mix = leaf, mix

    def forward(self):
        return self.leaf._compute(self.mix)


def test_only_the_prefix_gets_gradients():
    model = toy.supernet("low-rank").train()
    model.activate(model.space.smallest())
    _logits(model).square().sum().backward()
    leaf = model.encoder.layers[0].ffn.fc1
    columns, rows = 24, 32
    for grad in (leaf.weight.grad, leaf.up.grad):
        assert grad[:rows].abs().sum() > 0 and not grad[rows:].any()
    for grad in (leaf.weight.grad, leaf.down.grad):
        assert grad[:, :columns].abs().sum() > 0 and not grad[:, columns:].any()


@pytest.mark.parametrize("scope", ["ffn", "attention", "all"])
def test_it_starts_as_plain_sharing_and_costs_what_the_formula_says(scope):
    options = {"expert_scope": scope, "disturbed": False}
    shared = toy.supernet("shared", **options)
    model = toy.supernet("low-rank", num_experts=3, expert_rank=4, **options)
    found, leaves = model.state_dict(), [leaf for leaf in model.modules() if isinstance(leaf, LowRankLinear)]
    assert len(leaves) == {"ffn": 12, "attention": 36, "all": 48}[scope]
    # A supernet without differences is one with differences that have no effect.
    model.load_state_dict(shared.state_dict())
    for arch in (model.space.largest(), model.space.smallest()):
        for network in (shared, model):
            network.eval().activate(arch)
        with torch.no_grad():
            assert torch.equal(_logits(shared), _logits(model))
    assert torch.equal(model.encoder.layers[0].routing.router.hidden.weight, found[ROUTER])
    count = {name: sum(p.numel() for p in one.parameters()) for name, one in (("shared", shared), ("ours", model))}
    differences = sum(3 * 4 * sum(leaf.super_size) for leaf in leaves)
    # A router for each of 6 layers: 10 features, 16 hidden, 3 experts.
    assert count["ours"] == count["shared"] + differences + 6 * (16 * 11 + 3 * 17)


ROUTER = "encoder.layers.0.routing.router.hidden.weight"


def test_a_layer_s_leaves_share_one_mix():
    model = toy.supernet("low-rank", num_experts=4, expert_scope="all").eval()
    layer = model.decoder.layers[0]
    with torch.no_grad():
        mixes = [leaf.effect().mix for leaf in (layer.ffn.fc1, layer.ffn.fc2, layer.encoder_attn.k_proj)]
    assert mixes[0].shape == (4,) and float(mixes[0].sum()) == pytest.approx(1)
    assert all(mix is mixes[0] for mix in mixes)


def test_routers_learn_from_the_second_update_on():
    model = toy.supernet("low-rank", disturbed=False).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    leaf, moved = model.encoder.layers[0].ffn.fc1, []
    for _ in range(2):
        optimizer.zero_grad()
        _logits(model).square().mean().backward()
        router = model.encoder.layers[0].routing.router.output.weight.grad
        moved.append((bool(router.any()), bool(leaf.down.grad.any()), bool(leaf.up.grad.any())))
        optimizer.step()
    assert moved == [(False, False, True), (True, True, True)]


def test_projections_keep_the_size_of_their_input():
    torch.manual_seed(1)
    leaf = LowRankLinear(400, 100, num_experts=4, rank=50)
    x = torch.randn(1000, 400)
    assert float((x @ leaf.down.T).std() / x.std()) == pytest.approx(1, abs=0.02)
    assert not leaf.up.any()


def test_autocast_keeps_small_differences():
    """In bfloat16, 1 + 0.001 would be 1."""
    leaf = LowRankLinear(8, 8, num_experts=2, rank=1)
    with torch.no_grad():
        leaf.weight.fill_(1.0), leaf.up.fill_(1e-3), leaf.down.fill_(1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight, _ = leaf._compute(torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(weight, torch.full_like(weight, 1.001), rtol=1e-6, atol=0)


def test_with_one_expert_it_is_plain_sharing():
    ours, theirs = (toy.supernet(name, num_experts=1).state_dict() for name in ("low-rank", "shared"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_whole_experts_initialisation_is_refused():
    for name in ("copy", "published"):
        with pytest.raises(UserError, match=f"--expert-init {name} is for whole experts, not --routing low-rank"):
            toy.supernet("low-rank", expert_init=name)
    with pytest.raises(UserError, match="--expert-rank is 0, allowed: 1 to 1,024"):
        toy.supernet("low-rank", expert_rank=0)
