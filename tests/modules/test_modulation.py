"""Channel modulation: its formula, where it acts, and that it starts as plain sharing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from fairseq_mos.errors import UserError
from fairseq_mos.modules.elastic import ElasticLayerNorm, ElasticLinear, Routed
from fairseq_mos.modules.leaves import MODULATIONS
from tests import toy

# Leaves outside layers, too: the norms of pre-norm and of the embeddings, and an output projection.
OUTSIDE = {
    "encoder_normalize_before": True,
    "decoder_normalize_before": True,
    "layernorm_embedding": True,
    "share_all_embeddings": False,
}


def _logits(model):
    return model(**toy.batch()["net_input"])[0]


def _emitted(routing, name, rows):
    """What the network of a leaf emits for its first `rows` channels, by the formula: (rows, 1 or 2)."""
    modulation = routing.modulation
    output = modulation.outputs[name]
    hidden = F.relu(modulation.hidden.weight @ routing.encoding + modulation.hidden.bias)
    numbers = (output.weight @ hidden + output.bias).view(-1, 2 if name != "output_projection" else 1)
    return numbers[:rows]


@torch.no_grad()
@pytest.mark.parametrize("encoding", ["mean", "full"])
def test_the_formula_of_linears_and_norms(encoding):
    model = toy.supernet("shared", modulation="all", arch_encoding=encoding, **OUTSIDE).eval()
    subnet = model.extract(model.space.smallest())
    for stack, dense_stack in ((model.encoder, subnet.encoder), (model.decoder, subnet.decoder)):
        pairs = [(stack, "layer_norm", stack.layer_norm, dense_stack.layer_norm)]
        pairs += [(stack, "layernorm_embedding", stack.layernorm_embedding, dense_stack.layernorm_embedding)]
        for layer, dense in zip(stack.layers, dense_stack.layers):
            pairs += [(layer, "fc1", layer.ffn.fc1, dense.ffn.fc1), (layer, "fc2", layer.ffn.fc2, dense.ffn.fc2)]
            attention, dense_attention = layer.self_attn, dense.self_attn
            pairs += [(layer, "self_attn_v_proj", attention.v_proj, dense_attention.v_proj)]
            pairs += [(layer, "final_layer_norm", layer.final_layer_norm, dense.final_layer_norm)]
        for owner, name, leaf, dense in pairs:
            rows = dense.weight.shape[0]
            prefix = tuple(slice(size) for size in dense.weight.shape)
            g, s = _emitted(owner.routing, name, rows).unbind(-1)
            assert g.abs().min() > 0 and s.abs().min() > 0
            factor = 1 + (g if dense.weight.dim() == 1 else g.unsqueeze(-1))
            torch.testing.assert_close(dense.weight, factor * leaf.weight[prefix], rtol=1e-5, atol=1e-6)
            # The bias is not scaled.
            torch.testing.assert_close(dense.bias, leaf.bias[:rows] + s, rtol=1e-5, atol=1e-6)
    # Without a bias there is no shift.
    weight = model.decoder.output_projection.weight[:, :24]
    g = _emitted(model.decoder.routing, "output_projection", toy.VOCABULARY)
    torch.testing.assert_close(subnet.decoder.output_projection.weight, (1 + g) * weight, rtol=1e-5, atol=1e-6)
    assert subnet.decoder.output_projection.bias is None


@torch.no_grad()
@pytest.mark.parametrize("routing", ["global", "layer", "neuron"])
def test_experts_are_mixed_and_then_scaled(routing):
    model = toy.supernet(routing, modulation="linears", expert_scope="all").eval()
    subnet = model.extract(model.space.smallest())
    layer, dense = model.decoder.layers[0], subnet.decoder.layers[0].encoder_attn.k_proj
    leaf = layer.encoder_attn.k_proj
    rows, columns = dense.weight.shape
    mix = leaf.effect().mix.expand(rows, 2).T.unsqueeze(-1)
    g, s = _emitted(layer.routing, "encoder_attn_k_proj", rows).unbind(-1)
    mixed = (mix * leaf.weight[:, :rows, :columns]).sum(0)
    torch.testing.assert_close(dense.weight, (1 + g).unsqueeze(-1) * mixed, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dense.bias, (mix.squeeze(-1) * leaf.bias[:, :rows]).sum(0) + s, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("routing", ["shared", "global", "layer", "neuron", "low-rank"])
def test_it_starts_as_if_there_were_none(routing):
    plain = toy.supernet(routing, **OUTSIDE)
    model = toy.supernet(routing, modulation="all", **OUTSIDE)
    missing, unknown = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unknown and all(".modulation." in name for name in missing) and missing
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".modulation.outputs." in name:
                parameter.zero_()
    for arch in (model.space.largest(), model.space.smallest()):
        for network in (plain, model):
            network.train()
            network.activate(arch)
            network.zero_grad()
            _logits(network).square().sum().backward()
        assert torch.equal(_logits(model), _logits(plain))
        grads = dict(plain.named_parameters())
        for name, parameter in model.named_parameters():
            if ".modulation." not in name and grads[name].grad is not None:
                torch.testing.assert_close(parameter.grad, grads[name].grad, rtol=1e-4, atol=1e-5)
            elif ".modulation.hidden" in name and parameter.grad is not None:
                assert not parameter.grad.any()
    assert model.encoder.layers[0].routing.modulation.outputs["fc1"].weight.grad.any()


def test_the_last_layer_is_zero_at_first():
    model = toy.supernet("shared", modulation="all", disturbed=False, **OUTSIDE)
    outputs = [p for name, p in model.named_parameters() if ".modulation.outputs." in name]
    assert len(outputs) == 2 * sum(isinstance(leaf, Routed) for leaf in model.modules())
    assert not any(parameter.any() for parameter in outputs)


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_which_leaves_are_modulated_and_what_that_costs(modulation):
    model = toy.supernet("shared", modulation=modulation, modulation_hidden_dim=5, **OUTSIDE)
    wanted = {"none": (), "norms": (ElasticLayerNorm,), "linears": (ElasticLinear,)}.get(modulation, (Routed,))
    leaves = [leaf for leaf in model.modules() if isinstance(leaf, Routed)]
    modulated = [leaf for leaf in leaves if isinstance(leaf, wanted)]
    assert [leaf for leaf in leaves if leaf.place is not None] == modulated
    # A hidden layer of 5 over 10 features for each of 6 layers and 2 stacks, then 5 weights and a bias a number.
    numbers = sum(leaf.weight.shape[0] * (1 + (leaf.bias is not None)) for leaf in modulated)
    hidden = 0 if modulation == "none" else 8 * 5 * 11
    found = sum(p.numel() for name, p in model.named_parameters() if ".modulation." in name)
    assert found == hidden + 6 * numbers


def test_gradients_are_those_of_the_subnet_s_weights():
    """dL/dg is the row's gradient times the row, and dL/ds the bias's gradient."""
    model = toy.supernet("shared", modulation="all")
    subnet = model.extract(model.space.smallest()).train()
    for network in (model.train(), subnet):
        _logits(network).square().sum().backward()
    layer, dense = model.decoder.layers[0], subnet.decoder.layers[0]
    pairs = {
        "fc1": (layer.ffn.fc1, dense.ffn.fc1),
        "encoder_attn_out_proj": (layer.encoder_attn.out_proj, dense.encoder_attn.out_proj),
        "final_layer_norm": (layer.final_layer_norm, dense.final_layer_norm),
    }
    for name, (leaf, own) in pairs.items():
        rows = own.weight.shape[0]
        prefix = tuple(slice(size) for size in own.weight.shape)
        scale, shift = layer.routing.modulation.outputs[name].bias.grad.view(-1, 2)[:rows].unbind(-1)
        wanted = (own.weight.grad * leaf.weight[prefix]).reshape(rows, -1).sum(-1)
        torch.testing.assert_close(scale, wanted, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(shift, own.bias.grad, rtol=1e-3, atol=1e-4)


def test_a_narrower_architecture_trains_its_own_channels_alone():
    model = toy.supernet("shared", modulation="all").train()
    model.activate(model.space.smallest())
    _logits(model).square().sum().backward()
    outputs = model.encoder.layers[0].routing.modulation.outputs
    for name, width in (("fc1", 32), ("fc2", 24), ("final_layer_norm", 24)):
        grad = outputs[name].bias.grad
        assert grad[: 2 * width].abs().sum() > 0 and not grad[2 * width :].any()
    assert model.decoder.layers[2].routing.modulation.outputs["fc1"].bias.grad is None


def test_kept_tensors_follow_the_modulation():
    model = toy.supernet("layer", modulation="all").eval()
    with torch.no_grad():
        _logits(model)
        model.activate(model.space.smallest())
        before = _logits(model)
        assert torch.equal(model.extract()(**toy.batch()["net_input"])[0], before)
        model.encoder.layers[1].routing.modulation.outputs["self_attn_layer_norm"].bias += 0.1
        after = _logits(model)
        assert not torch.equal(before, after)
        assert torch.equal(model.extract()(**toy.batch()["net_input"])[0], after)
        model.encoder.layers[1].routing.modulation.hidden.weight += 0.1
        assert not torch.equal(after, _logits(model))


def test_autocast_keeps_small_scales():
    """In bfloat16, 1 + 0.001 would be 1."""
    model = toy.supernet("shared", modulation="all", disturbed=False).train()
    layer = model.encoder.layers[0]
    with torch.no_grad():
        layer.routing.modulation.outputs["fc1"].bias.fill_(1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight, _ = layer.ffn.fc1.active()
    torch.testing.assert_close(weight / layer.ffn.fc1.weight, torch.full_like(weight, 1.001), rtol=1e-5, atol=0)


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="--modulation 'x' is unknown; allowed: none, norms, linears, all"):
        toy.supernet("shared", modulation="x")


def test_a_layers_leaves_have_one_hidden_layer_a_pass():
    """Computed once for each pass, whatever was changed since the last one."""
    model = toy.supernet("shared", modulation="all")
    modulation = model.encoder.layers[0].routing.modulation
    calls = []
    modulation.hidden.register_forward_hook(lambda *_: calls.append(1))
    before = _logits(model)
    assert len(calls) == 1
    with torch.no_grad():
        modulation.hidden.bias.add_(1.0)
        assert not torch.equal(_logits(model), before)
    assert not torch.equal(_logits(model), before)
    copied = copy.deepcopy(model)
    assert torch.equal(_logits(copied.eval()), _logits(model.eval()))
    # Outside a pass nothing of the last one is used.
    model.train().activate(model.space.smallest())
    expected = _emitted(model.encoder.layers[0].routing, "fc1", 8)
    torch.testing.assert_close(modulation.effect("fc1", 8), expected)
