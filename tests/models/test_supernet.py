"""The project's first invariant: supernet with an architecture pinned = extracted subnet; and its leaves."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from torch.nn import functional as F

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.modules.kept import Elastic
from fairseq_mos.modules.routing import ROUTINGS
from tests import toy
from tests.stock import stock_twin

SEPARATE = {"share_all_embeddings": False}
OPTIONS = [
    {},
    {"encoder_normalize_before": True, "decoder_normalize_before": True, "layernorm_embedding": True},
    SEPARATE,
    {"share_all_embeddings": False, "share_decoder_input_output_embed": True},
]


def _random_architectures(space, count, seed=0):
    rng = random.Random(seed)
    return [space.smallest(), *(space.sample(rng) for _ in range(count))]


def _beam(model, sample):
    generator = SequenceGenerator([model], toy.dictionary(), beam_size=3, max_len_b=8)
    hypotheses = generator.generate([model], sample)
    return [[(h["tokens"].tolist(), h["score"].item()) for h in beams] for beams in hypotheses]


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "prenorm", "separate", "tied-output"])
def test_extracted_subnet_is_bit_identical(routing, options):
    model = toy.supernet(routing, **options).eval()
    sample = toy.batch()
    for architecture in _random_architectures(model.space, 3):
        subnet = model.extract(architecture)
        assert not any(isinstance(m, Elastic) for m in subnet.modules())
        with torch.no_grad():
            ours, _ = model(**sample["net_input"])
            theirs, _ = subnet(**sample["net_input"])
        assert torch.equal(ours, theirs)
        assert _beam(model, sample) == _beam(subnet, sample)


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("qkv_dim", [16, "embed"])
@pytest.mark.parametrize("modulation", ["none", "all"])
def test_under_grad_within_1e5(routing, qkv_dim, modulation):
    model = toy.supernet(routing, toy.space(qkv_dim), modulation=modulation)
    sample = toy.batch()
    for architecture in _random_architectures(model.space, 3, seed=1):
        subnet = model.extract(architecture)
        model.train(), subnet.train()
        ours, _ = model(**sample["net_input"])
        theirs, _ = subnet(**sample["net_input"])
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_gradients_equal_those_of_the_subnet():
    """The expert's gradient is the dense weight's gradient times its mix, at the active prefix; zero beyond."""
    model = toy.supernet("neuron")
    architecture = model.space.smallest()
    subnet = model.extract(architecture).train()
    model.train()
    sample = toy.batch()
    for network in (model, subnet):
        network(**sample["net_input"])[0].square().sum().backward()
    layer, dense = model.encoder.layers[1], subnet.encoder.layers[1]
    mix = layer.ffn.fc1.effect().mix
    rows, columns = dense.ffn.fc1.weight.shape
    for j in range(2):
        grad = layer.ffn.fc1.weight.grad[j]
        expected = dense.ffn.fc1.weight.grad * mix[:, j : j + 1]
        torch.testing.assert_close(grad[:rows, :columns], expected, rtol=1e-3, atol=1e-5)
        assert grad[rows:].abs().sum() == 0 and grad[:, columns:].abs().sum() == 0
    q = dense.self_attn.q_proj.weight
    torch.testing.assert_close(
        layer.self_attn.q_proj.weight.grad[:, : q.shape[1]], q.grad, rtol=1e-3, atol=1e-5
    )
    assert layer.routing.fc1_router.output.weight.grad[: 2 * rows].abs().sum() > 0


def test_shared_routing_is_slicing_a_plain_transformer():
    model = toy.supernet("shared").eval()
    subnet = model.extract(model.space.smallest())
    state, small = model.state_dict(), subnet.state_dict()
    for name, value in small.items():
        assert torch.equal(value, state[name][tuple(slice(size) for size in value.shape)]), name
    assert {n for n in state if n not in small} == {
        "search_space_version",
        *(n for n in state if n.startswith(("decoder.layers.1.", "decoder.layers.2."))),
    }


@pytest.mark.parametrize("routing", ["layer", "global", "neuron"])
def test_one_hot_router_selects_that_expert_exactly(routing):
    model = toy.supernet(routing)
    chosen = 1
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "router" in name and ".output." in name:
                parameter.zero_()
                if name.endswith("bias"):
                    # Rows come neuron by neuron, expert by expert; 200 makes the softmax exactly one-hot.
                    parameter[chosen::2] = 200.0
    subnet = model.extract(model.space.largest())
    for ours, theirs in zip(model.encoder.layers, subnet.encoder.layers):
        for leaf in ("fc1", "fc2"):
            assert torch.equal(getattr(theirs.ffn, leaf).weight, getattr(ours.ffn, leaf).weight[chosen])
            assert torch.equal(getattr(theirs.ffn, leaf).bias, getattr(ours.ffn, leaf).bias[chosen])


def test_neuron_wise_mix_is_the_formula_row_by_row():
    model = toy.supernet("neuron", num_experts=3).eval()
    architecture = model.space.smallest()
    subnet = model.extract(architecture)
    layer = model.decoder.layers[0]
    router = layer.routing.fc2_router
    with torch.no_grad():
        hidden = F.relu(router.hidden(layer.routing.encoding))
        logits = router.output(hidden)
        rows, columns = subnet.decoder.layers[0].ffn.fc2.weight.shape
        for i in range(rows):
            alpha = torch.softmax(logits[3 * i : 3 * i + 3], dim=0)
            row = sum(alpha[j] * layer.ffn.fc2.weight[j, i, :columns] for j in range(3))
            bias = sum(alpha[j] * layer.ffn.fc2.bias[j, i] for j in range(3))
            torch.testing.assert_close(subnet.decoder.layers[0].ffn.fc2.weight[i], row, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(subnet.decoder.layers[0].ffn.fc2.bias[i], bias, rtol=1e-5, atol=1e-7)


def test_global_routing_has_one_mix_and_one_router():
    model = toy.supernet("global").eval()
    mixes = {tuple(layer.ffn.fc1.effect().mix.tolist()) for layer in model.decoder.layers}
    mixes |= {tuple(layer.ffn.fc2.effect().mix.tolist()) for layer in model.encoder.layers}
    assert len(mixes) == 1
    assert len({n.rsplit(".", 2)[0] for n in model.state_dict() if ".router." in n}) == 1


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("share", [False, True])
def test_logits_of_stock_fairseq_with_copied_weights(prenorm, share):
    space = toy.space("embed", arbitrary_attention=[-1])
    model = toy.supernet(
        "neuron",
        space,
        encoder_normalize_before=prenorm,
        decoder_normalize_before=prenorm,
        share_all_embeddings=share,
    )
    for dim, layers, ffn, heads in ((32, 3, 64, 4), (24, 3, 48, 2)):
        architecture = Architecture.from_dict(
            {
                "qkv_dim": "embed",
                "encoder": {
                    "embed_dim": dim,
                    "layers": layers,
                    "ffn_dims": [ffn] * layers,
                    "self_attention_heads": [heads] * layers,
                },
                "decoder": {
                    "embed_dim": dim,
                    "layers": layers,
                    "ffn_dims": [ffn] * layers,
                    "self_attention_heads": [heads] * layers,
                    "cross_attention_heads": [heads] * layers,
                    "arbitrary_attention": [-1] * layers,
                },
            }
        )
        subnet = model.extract(architecture)
        stock = stock_twin(subnet, prenorm=prenorm, share=share)
        sample = toy.batch()
        real = sample["target"].ne(1)
        with torch.no_grad():
            ours, _ = subnet(**sample["net_input"])
            theirs, _ = stock(**sample["net_input"])
        torch.testing.assert_close(ours[real], theirs[real], atol=2e-5, rtol=0)
        assert [[t for t, _ in beams] for beams in _beam(subnet, sample)] == [
            [t for t, _ in beams] for beams in _beam(stock, sample)
        ]


@pytest.mark.parametrize("attention", [-1, 1, 2])
@pytest.mark.parametrize("normalize_before", [False, True])
def test_incremental_decoding_equals_full_decoding_under_reordering(attention, normalize_before):
    model = toy.supernet(
        "layer",
        toy.space(arbitrary_attention=[attention]),
        encoder_normalize_before=normalize_before,
        decoder_normalize_before=normalize_before,
    ).eval()
    model.activate(model.space.sample(random.Random(5)))
    sample = toy.batch(sentences=3)
    source = sample["net_input"]["src_tokens"]
    beams = torch.tensor([0, 0, 1, 1, 2, 2])
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        encoder_out = model.encoder.reorder_encoder_out(model.encoder(source), beams)
        tokens = torch.full((6, 1), 2)
        state: dict = {}
        for _ in range(5):
            step, _ = model.decoder(tokens, encoder_out, incremental_state=state)
            full, _ = model.decoder(tokens, encoder_out)
            torch.testing.assert_close(step[:, -1], full[:, -1], atol=1e-5, rtol=0)
            # Beams of a sentence swap or duplicate, as in beam search.
            order = torch.tensor([1, 1, 2, 3, 5, 4])
            tokens = torch.cat([tokens, torch.randint(4, 50, (6, 1), generator=rng)], dim=1)[order]
            model.decoder.reorder_incremental_state_scripting(state, order)
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)


def test_memory_states_are_the_last_layers_outputs():
    model = toy.supernet("shared", toy.space(arbitrary_attention=[2])).eval()
    sample = toy.batch()
    with torch.no_grad():
        out = model.encoder(sample["net_input"]["src_tokens"], return_all_hiddens=True)
    packed, states = out["encoder_out"][0], out["encoder_states"]
    assert torch.equal(packed, torch.cat([states[-1], states[-2], states[-3]], dim=-1))


def test_attention_is_returned_per_source_token():
    model = toy.supernet("shared", toy.space(arbitrary_attention=[2])).eval()
    sample = toy.batch()
    with torch.no_grad():
        _, extra = model(**sample["net_input"])
    attn = extra["attn"][0]
    assert attn.shape == (4, 6, 7)
    torch.testing.assert_close(attn.sum(-1), torch.ones(4, 6))
    assert attn[1:, :, 0].abs().max() == 0, "padding must get no attention"


def test_eval_cache_follows_weights_modes_and_copies():
    model = toy.supernet("neuron").eval()
    model.activate(model.space.smallest())
    sample = toy.batch()["net_input"]

    def logits(network=model):
        with torch.no_grad():
            return network(**sample)[0]

    before = logits()
    assert torch.equal(before, logits())
    kept = [m for m in model.modules() if isinstance(m, Elastic) and m._kept]
    assert kept
    twin = copy.deepcopy(model)
    assert all(not m._kept for m in twin.modules() if isinstance(m, Elastic))
    with torch.no_grad():
        model.encoder.layers[0].ffn.fc1.weight.mul_(2.0)
    assert not torch.equal(before, logits())
    assert torch.equal(before, logits(twin))
    model.load_state_dict(twin.state_dict())
    assert torch.equal(before, logits())
    with torch.no_grad():
        model.decoder.layers[0].routing.fc2_router.output.bias[0] += 5.0
    assert not torch.equal(before, logits())
    model.train()
    assert all(not m._kept for m in model.modules() if isinstance(m, Elastic))
    assert not any("_kept" in name for name in model.state_dict())
    half = copy.deepcopy(twin).double()
    assert logits(half).dtype == torch.float64


@pytest.mark.parametrize("modulation", ["none", "all"])
def test_checkpointed_activations_give_the_same_gradients(modulation):
    grads = []
    for checkpoint_activations in (False, True):
        model = toy.supernet("neuron", checkpoint_activations=checkpoint_activations, modulation=modulation).train()
        model.activate(model.space.sample(random.Random(2)))
        model(**toy.batch()["net_input"])[0].square().mean().backward()
        grads.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
    for a, b in zip(*grads):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_no_parameter_is_called_expert():
    # fairseq leaves parameters with such an attribute out of all-reduce, clipping and fp16 flattening.
    assert not any(hasattr(p, "expert") for p in toy.supernet("neuron").parameters())


def test_dropout_scales_with_the_active_width():
    model = toy.supernet("shared", dropout=0.4)
    model.activate(model.space.smallest())
    assert model.encoder.dropout_module.p == pytest.approx(0.4 * 24 / 32)
    assert model.decoder.layers[0].dropout_module.p == pytest.approx(0.4 * 24 / 32)
    model = toy.supernet("shared", dropout=0.4, no_dropout_scaling=True)
    model.activate(model.space.smallest())
    assert model.encoder.dropout_module.p == model.encoder.layers[0].dropout_module.p == 0.4


def test_positions_are_computed_for_the_active_width():
    model = toy.supernet("shared")
    from fairseq.modules import SinusoidalPositionalEmbedding

    tokens = torch.full((1, 5), 7)
    table = SinusoidalPositionalEmbedding.get_embedding(20, 24, 1)
    positions = model.encoder.embed_positions(tokens, 24, torch.zeros(1))
    assert torch.equal(positions[0], table[2:7])


def test_errors_name_the_flag():
    model = toy.supernet("shared")
    with pytest.raises(UserError, match="encoding has 3 features.*take 10"):
        model.activate(model.space.largest(), [0.1, 0.2, 0.3])
    with pytest.raises(UserError, match="--encoder-embed-dim 512 contradicts search space 'toy', which says 32"):
        toy.supernet("shared", encoder_embed_dim=512)
    assert toy.supernet("shared", encoder_embed_dim=32) is not None
    with pytest.raises(UserError, match="--decoder-layerdrop is not supported"):
        toy.supernet("shared", decoder_layerdrop=0.1)
    with pytest.raises(UserError, match="--share-all-embeddings needs one dictionary"):
        toy.supernet("shared", task_=toy.task(toy.dictionary(20), toy.dictionary(30)))
    other = toy.supernet("shared", toy.space(arbitrary_attention=[-1]))
    with pytest.raises(UserError, match="another search space"):
        other.load_state_dict(model.state_dict())


@pytest.mark.parametrize("scope", ["attention", "all"])
@pytest.mark.parametrize("routing", ["layer", "global", "neuron"])
def test_experts_in_attention(routing, scope):
    model = toy.supernet(routing, expert_scope=scope)
    sample = toy.batch()["net_input"]
    attention, ffn = model.decoder.layers[0].encoder_attn, model.decoder.layers[0].ffn
    assert attention.k_proj.weight.dim() == 3 and ffn.fc1.weight.dim() == (3 if scope == "all" else 2)
    for architecture in _random_architectures(model.space, 2, seed=3):
        subnet = model.extract(architecture)
        with torch.no_grad():
            assert torch.equal(model(**sample)[0], subnet(**sample)[0])
    model.train()
    model(**sample)[0].square().sum().backward()
    assert all(attention.q_proj.weight.grad[j].abs().sum() > 0 for j in range(2))
    routers = [p for n, p in model.named_parameters() if "router.output.weight" in n and "layers.0." in n]
    wanted = {"neuron": 4 + 8 + 4 * (scope == "all"), "layer": 2, "global": 1}
    assert len(routers) == wanted[routing] and all(p.grad.abs().sum() > 0 for p in routers)


def test_a_layer_s_leaves_share_one_mix_in_every_pass_and_another_in_the_next():
    model = toy.supernet("layer", router_dropout=0.5, expert_scope="all").train()
    layer, seen = model.encoder.layers[0], []
    for leaf in (layer.self_attn.q_proj, layer.ffn.fc1, layer.ffn.fc2):
        leaf.register_forward_hook(lambda leaf, *_: seen.append(leaf.effect().mix))
    for _ in range(2):
        model(**toy.batch()["net_input"])
    assert all(mix is seen[0] for mix in seen[:3]) and all(mix is seen[3] for mix in seen[3:])
    assert not torch.equal(seen[0], seen[3])


def test_the_feed_forward_block_is_a_module_whose_weights_keep_fairseq_s_names():
    model = toy.supernet()
    assert "encoder.layers.0.ffn.fc1.weight" in dict(model.named_parameters())
    names = [name for name in model.state_dict() if name.startswith("encoder.layers.0.") and ".fc1." in name]
    assert names == ["encoder.layers.0.fc1.weight", "encoder.layers.0.fc1.bias"]
    layer = model.encoder.layers[0]
    assert list(layer.state_dict())[:2] == list(layer.ffn.state_dict())[:2] == ["fc1.weight", "fc1.bias"]
    state = {name: value + 1 for name, value in model.state_dict().items() if name != "search_space_version"}
    assert model.load_state_dict(state, strict=False).missing_keys == ["search_space_version"]
    assert torch.equal(layer.ffn.fc1.weight, state["encoder.layers.0.fc1.weight"])


@pytest.mark.parametrize("shape", [(3, 9), (5, 7), (1, 30), (8, 3)])
@torch.no_grad()
def test_a_subnet_is_bit_equal_for_batches_of_any_shape(shape):
    """torch multiplies inputs that are not contiguous otherwise where a weight needs no gradient."""
    model = toy.supernet("neuron")
    draw = torch.Generator().manual_seed(1)
    source, previous = (torch.randint(4, toy.VOCABULARY, shape, generator=draw) for _ in range(2))
    for arch in (model.space.smallest(), model.space.largest()):
        subnet = model.extract(arch)
        assert torch.equal(model(source, None, previous)[0], subnet(source, None, previous)[0])
