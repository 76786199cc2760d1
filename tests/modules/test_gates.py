"""Hard gates, and k-shot NAS: a one-hot choice of expert k is the network of expert k, with plain weight sharing."""

from __future__ import annotations

import random

import pytest
import torch

from fairseq_mos.errors import UserError
from fairseq_mos.modules.elastic import ElasticLinear
from tests import toy


def _logits(model):
    return model(**toy.batch()["net_input"])[0]


def _gated(model):
    return {name: leaf for name, leaf in model.named_modules() if isinstance(leaf, ElasticLinear) and leaf.place}


@torch.no_grad()
def _with_experts(model, choose):
    """A plain weight-sharing supernet with the weights of the expert that `choose` says for each leaf by its name."""
    plain = toy.supernet("shared", model.space, share_all_embeddings=False)
    leaves = _gated(model)
    ours = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        leaf, source = name.rsplit(".", 1)[0], ours[name]
        parameter.copy_(source[choose(leaf)] if leaf in leaves else source)
    return plain


@pytest.mark.parametrize("scope", ["ffn", "attention", "all"])
@pytest.mark.parametrize("gene", ["decoder.layers", "encoder.embed_dim", "encoder.ffn_dims[1]"])
def test_a_split_supernet_is_a_supernet_for_each_value_of_the_gene(gene, scope):
    model = toy.supernet("split", split_gene=gene, expert_scope=scope, share_all_embeddings=False)
    (choices,) = (one.choices for one in model.space.genes if one.name == gene)
    leaves = _gated(model)
    assert len(leaves) == {"ffn": 12, "attention": 36, "all": 48}[scope]
    assert {leaf.num_experts for leaf in leaves.values()} == {len(choices)} == {model.cfg.num_experts}
    names = [one.name for one in model.space.genes]
    rng = random.Random(2)
    for expert, value in enumerate(choices):
        plain = _with_experts(model, lambda leaf, expert=expert: expert)
        values = list(model.space.to_genes(model.space.sample(rng)))
        values[names.index(gene)] = value
        arch = model.space.from_genes(values)
        for network in (model, plain):
            network.zero_grad()
            network.train()
            network.activate(arch)
            _logits(network).square().sum().backward()
        assert torch.equal(_logits(model), _logits(plain))
        wanted = dict(plain.named_parameters())
        for name, parameter in model.named_parameters():
            grad = wanted[name].grad
            if name.rsplit(".", 1)[0] in leaves and grad is not None:
                assert torch.equal(parameter.grad[expert], grad), name
                # Nothing reaches the others.
                assert not torch.cat([parameter.grad[:expert], parameter.grad[expert + 1 :]]).any()
            else:
                assert (grad is None) == (parameter.grad is None) and (
                    grad is None or torch.equal(parameter.grad, grad)
                )


@torch.no_grad()
def test_disentangled_layers_use_the_expert_of_their_own_size():
    model = toy.supernet("disentangled", expert_scope="all", share_all_embeddings=False).eval()
    counts = {name.rsplit(".", 1)[1]: leaf.num_experts for name, leaf in _gated(model).items()}
    assert counts["fc1"] == counts["fc2"] == 3 and counts["q_proj"] == counts["out_proj"] == 2
    rng = random.Random(5)
    for _ in range(5):
        arch = model.space.sample(rng)

        def choose(leaf, arch=arch):
            stack, _, layer, part, *_ = leaf.split(".")
            sizes, choices = getattr(arch, stack), getattr(model.space, stack)
            trait = {"ffn": "ffn_dims", "self_attn": "self_attention_heads", "encoder_attn": "cross_attention_heads"}
            values = getattr(sizes, trait[part])
            return getattr(choices, trait[part]).index(values[int(layer)]) if int(layer) < len(values) else 0

        plain = _with_experts(model, choose).eval()
        for network in (model, plain):
            network.activate(arch)
        assert torch.equal(_logits(model), _logits(plain))
        # No two widths share a feed-forward weight.
        for own, dense, width in zip(model.encoder.layers, model.extract(arch).encoder.layers, arch.encoder.ffn_dims):
            assert torch.equal(
                dense.ffn.fc1.weight, own.ffn.fc1.weight[[64, 48, 32].index(width), :width, : dense.ffn.fc1.in_features]
            )


@torch.no_grad()
def test_a_change_of_the_gene_alone_changes_what_is_kept():
    """Sizes stay: the gene's value is that of a layer of the other stack."""
    model = toy.supernet("split", split_gene="encoder.ffn_dims[2]", expert_scope="all").eval()
    names = [gene.name for gene in model.space.genes]
    values = list(model.space.to_genes(model.space.largest()))
    weights = []
    for width in (64, 32, 64):
        values[names.index("encoder.ffn_dims[2]")] = width
        model.activate(model.space.from_genes(values))
        weights.append(model.decoder.layers[0].ffn.fc1.active()[0].clone())
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])


@torch.no_grad()
def test_k_shot_nas_mixes_all_weights_of_the_layers_with_one_mix():
    model = toy.supernet("global", num_experts=3, expert_scope="all", share_all_embeddings=False).eval()
    leaves = _gated(model)
    inside = [name for name, leaf in model.named_modules() if isinstance(leaf, ElasticLinear) and ".layers." in name]
    assert list(leaves) == inside and len(inside) == 3 * 6 + 3 * 10
    router = model.encoder.layers[0].routing.router
    for arch in (model.space.largest(), model.space.smallest()):
        model.activate(arch)
        mixes = {id(mix): mix for mix in (leaf.effect().mix for leaf in leaves.values())}
        assert all(torch.equal(mix, next(iter(mixes.values()))) for mix in mixes.values())
        mix = leaves["encoder.layers.0.ffn.fc1"].effect().mix
        assert mix.shape == (3,) and float(mix.sum()) == pytest.approx(1) and float(mix.min()) > 0
        subnet = dict(model.extract(arch).named_parameters())
        for name, leaf in leaves.items():
            if f"{name}.weight" in subnet:
                rows, columns = subnet[f"{name}.weight"].shape
                wanted = sum(share * weight for share, weight in zip(mix, leaf.weight[:, :rows, :columns]))
                torch.testing.assert_close(subnet[f"{name}.weight"], wanted, rtol=1e-5, atol=1e-7)
    # At a corner of the simplex it is that expert's own supernet.
    router.output.weight.zero_()
    router.output.bias.copy_(torch.tensor([0.0, 0.0, 200.0]))
    plain = _with_experts(model, lambda leaf: 2).eval()
    for network in (model, plain):
        network.activate(model.space.smallest())
    assert torch.equal(_logits(model), _logits(plain))


@pytest.mark.parametrize("routing", ["layer", "neuron", "global"])
@pytest.mark.parametrize("m", [1, 2, 4, 6])
def test_numbers_of_experts(routing, m):
    """With one expert every routing is plain weight sharing."""
    model = toy.supernet(routing, num_experts=m, expert_scope="all")
    leaf = model.decoder.layers[0].encoder_attn.v_proj
    if m == 1:
        shared = toy.supernet("shared")
        ours, theirs = model.state_dict(), shared.state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        return
    assert leaf.weight.shape == (m, 16, 32)
    mix = leaf.effect().mix
    assert mix.shape == ((16, m) if routing == "neuron" else (m,))
    torch.testing.assert_close(mix.sum(-1), torch.ones(mix.shape[:-1]))
    model.train()
    _logits(model).square().sum().backward()
    assert all(grad.any() for grad in leaf.weight.grad)


def test_what_cannot_be_split_by_is_refused():
    genes = "encoder.embed_dim, encoder.ffn_dims\\[0\\]"
    with pytest.raises(UserError, match=f"--split-gene is missing, allowed in search space 'toy': {genes}, "):
        toy.supernet("split", split_gene=None)
    # One choice only; a size that is no gene; what only a checkpoint may say.
    for name in ("encoder.layers", "decoder.ffn_dims", "x", {}):
        with pytest.raises(UserError, match=f"--split-gene is {name!r}, allowed in search space 'toy': {genes}, "):
            toy.supernet("split", split_gene=name)
    with pytest.raises(UserError, match="--split-gene 'decoder.layers' is for --routing split, not layer"):
        toy.supernet("layer", split_gene="decoder.layers")
    space = toy.space().to_dict()
    for stack in ("encoder", "decoder"):
        space[stack]["ffn_dims"] = [32]
    with pytest.raises(UserError, match="--routing disentangled with --expert-scope ffn has nothing to choose by"):
        toy.supernet("disentangled", type(toy.space()).from_dict(space))
