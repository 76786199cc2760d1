"""Masked language models: published counts, spaces and windows, bottlenecks, and fairseq's own `roberta`."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from fairseq.models.roberta import RobertaModel

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.cost.measured import count_parameters
from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import extract_checkpoint
from fairseq_mos.families import family_of
from fairseq_mos.families.masked_lm.costs import published
from fairseq_mos.families.masked_lm.texts import made_up_dictionary, task_with
from fairseq_mos.models.masked_lm_config import MosRobertaSubnetConfig
from fairseq_mos.models.mos_roberta_subnet import MosRobertaSubnet
from fairseq_mos.models.opening import load_bundle
from fairseq_mos.modules.routing import ROUTINGS
from fairseq_mos.report.architecture_picture import architecture_svg
from fairseq_mos.report.mixes import expert_mixes
from fairseq_mos.search.candidates import Problem
from tests.families.masked_lm import kit
from tests.families.test_contract import write_files

SPACES = ("bert_tiny", "bert_v1", "bert_v5.1", "bert_v5.2", "autodistil_base", "autodistil_small", "autodistil_tiny")
# In millions of parameters, as published searches count them (FLOPs and latency were not limited).
WINDOWS = ((4, 5.14), (8, 10), (25, 26.8), (28, 30), (45, 50), (58, 60), (65, 66.5))


@pytest.mark.parametrize(
    ("name", "size", "smallest", "largest"),
    [
        ("bert_v1", 7**12, 34_361_328, 117_161_472),
        ("bert_v5.1", 550, 5_137_560, 109_483_776),
        ("bert_v5.2", 840, 4_438_440, 109_483_776),
    ],
)
def test_published_counts(name, size, smallest, largest):
    space = SearchSpace.load(name)
    assert space.size() == size
    assert family_of(space).counts(space.smallest())["params_budget"] == published(space.smallest()) == smallest
    assert published(space.largest()) == largest


def test_sizes_of_autodistil_s_spaces():
    for name, size in (("base", 50.1e6), ("small", 26.1e6), ("tiny", 6.88e6)):
        space = SearchSpace.load(f"autodistil_{name}")
        assert space.size() == 256
        assert published(space.smallest()) < size < published(space.largest())


@pytest.mark.parametrize("name", SPACES)
def test_the_model_has_the_parameters_that_costs_tell(name):
    space, rng = SearchSpace.load(name), random.Random(2)
    family = family_of(space)
    with torch.device("meta"):
        for arch in (space.smallest(), space.sample(rng)):
            model = family.random(100, "all")(arch)
            counted = count_parameters(model)
            found = family.counts(arch, family.sizing_of(model))
            assert (found["params"], found["params_no_embed"]) == (counted.total, counted.no_embed)


@pytest.mark.parametrize("low, high", WINDOWS)
@pytest.mark.parametrize("name", ["bert_v1", "bert_v5.1", "bert_v5.2"])
def test_every_published_window_has_members(name, low, high):
    space, draw = SearchSpace.load(name), random.Random(1)
    if high * 1e6 < published(space.smallest()):
        # v1 keeps full embeddings: it was searched from 45M on.
        assert name == "bert_v1"
        return

    def violation(arch: Architecture) -> float:
        size = published(arch) / 1e6
        return max(low - size, size - high, 0.0)

    if low == 4 and name == "bert_v5.1":
        assert violation(space.smallest()) == 0  # the only one
    counted = []

    def counting(arch: Architecture) -> float:
        counted.append(arch)
        return violation(arch)

    problem = Problem(space, counting, draw)
    found = space.from_genes(problem.drawn()[1])
    assert low * 1e6 <= published(found) <= high * 1e6
    # Within a second: what takes time is counting, and no architecture is counted twice.
    assert len(counted) == len(set(counted)) < 2000


@pytest.mark.parametrize("modulation", ["none", "all"])
@pytest.mark.parametrize("routing", ROUTINGS)
@torch.no_grad()
def test_bottlenecks_apart_are_bit_equal_and_merged_ones_round_otherwise(routing, modulation):
    space = kit.space(bottlenecks=True)
    model = kit.supernet(space, routing=routing, modulation=modulation)
    rng, tokens = random.Random(3), kit.tokens()
    for _ in range(3):
        arch = space.sample(rng)
        apart, merged = model.extract(arch, merge=False), model.extract(arch)
        scores = model(tokens)[0]
        assert torch.equal(scores, apart(tokens)[0])
        torch.testing.assert_close(merged(tokens)[0], scores, rtol=1e-5, atol=1e-5)
        bottlenecks = [name for name in merged.state_dict() if "bottleneck.weight" in name]
        assert len(bottlenecks) == arch.encoder.layers + 1
        saved = sum(p.numel() for p in apart.parameters()) - sum(p.numel() for p in merged.parameters())
        assert (saved > 0) == (arch.encoder.layers > 1)


@pytest.mark.parametrize("name", [name for name in SPACES if name != "bert_tiny"])
@torch.no_grad()
def test_subnets_of_every_space_are_bit_equal(name):
    # Its shape at an eighth of its widths, and with fewer layers: published sizes take minutes.
    data = SearchSpace.load(name).to_dict()
    encoder = data["encoder"]
    for key in ("embed_dim", "hidden_dims"):
        if key in encoder:
            encoder[key] = sorted({max(12, width // 8 // 12 * 12) for width in encoder[key]}, reverse=True)
    encoder["layers"] = [3, 2]
    data["head_dim"] = "split" if data["head_dim"] == "split" else 4
    space, rng, tokens = SearchSpace.from_dict(data), random.Random(5), kit.tokens()
    for routing in ("shared", "layer", "neuron"):
        model = kit.supernet(space, routing=routing)
        for arch in (space.largest(), space.smallest(), space.sample(rng)):
            assert torch.equal(model.extract(arch, merge=False)(tokens)[0], model(tokens)[0])


def test_rules_of_the_shape():
    with pytest.raises(UserError, match=r"encoder.embed_dim has 30, which 4 heads do not divide"):
        kit.space(embed_dim=[32, 30])
    with pytest.raises(UserError, match=r"encoder.hidden_dims has 40, which is more than embed_dim, 32"):
        SearchSpace.from_dict({**kit.space().to_dict(), "encoder": {**kit.space().to_dict()["encoder"],
            "embed_dim": [32], "hidden_dims": [40, 20]}})  # fmt: skip
    homogeneous, other = kit.space(), kit.space(bottlenecks=True)
    with pytest.raises(UserError, match="hidden_dims is missing, but search space 'toy_bert' chooses it"):
        other.validate(homogeneous.largest())
    with pytest.raises(UserError, match="hidden_dims is given, but search space 'toy_bert' has none"):
        homogeneous.validate(other.largest())


def _stock(arch: Architecture, eps: float = 1e-5) -> RobertaModel:
    """fairseq's own model of the same sizes."""
    sizes = arch.encoder
    args = SimpleNamespace(
        encoder_layers=sizes.layers, encoder_embed_dim=sizes.embed_dim, encoder_ffn_embed_dim=sizes.ffn_dim,
        encoder_attention_heads=sizes.attention_heads, dropout=0.0, attention_dropout=0.0, max_positions=kit.POSITIONS,
    )  # fmt: skip
    return RobertaModel.build_model(args, task_with(made_up_dictionary(kit.VOCABULARY), kit.POSITIONS)).eval()


@torch.no_grad()
def test_a_subnet_scores_as_fairseq_s_roberta_with_its_weights():
    model = kit.supernet()
    for arch in (model.space.smallest(), model.space.largest()):
        subnet, stock = model.extract(arch), _stock(arch)
        state = {name.replace("lm_head.dense_layer.", "lm_head.dense."): t for name, t in subnet.state_dict().items()}
        state["encoder.lm_head.weight"] = state["encoder.sentence_encoder.embed_tokens.weight"]
        stock.load_state_dict(state)
        ours, theirs = subnet(kit.tokens())[0], stock(kit.tokens())[0]
        real = kit.tokens().ne(1)
        torch.testing.assert_close(ours[real], theirs[real], rtol=1e-5, atol=1e-5)
        assert count_parameters(subnet) == count_parameters(stock)


def _subnet(positions: int = kit.POSITIONS, **options) -> MosRobertaSubnet:
    arch = kit.space().smallest()
    cfg = MosRobertaSubnetConfig(architecture_definition=arch.to_json(), max_positions=positions, **options)
    return MosRobertaSubnet.build_model(cfg, task_with(made_up_dictionary(kit.VOCABULARY), positions)).eval()


@torch.no_grad()
def test_heads_of_classification():
    model = _subnet()
    model.register_classification_head("topics", num_classes=3)
    found, _ = model(kit.tokens(), features_only=True, classification_head_name="topics")
    head, features = model.classification_heads["topics"], model(kit.tokens(), features_only=True)[0][:, 0]
    expected = head.out_proj(torch.tanh(head.dense(features)))
    assert found.shape == (3, 3) and torch.equal(found, expected)
    # A checkpoint's head is read if that is asked for, and left out elsewhere.
    state = model.state_dict()
    without, with_it = _subnet(), _subnet(load_checkpoint_heads=True)
    without.load_state_dict(dict(state))
    assert not without.classification_heads
    with_it.load_state_dict(dict(state))
    again, _ = with_it(kit.tokens(), features_only=True, classification_head_name="topics")
    assert torch.equal(again, found)
    with pytest.raises(UserError, match="extract a subnet"):
        kit.supernet().register_classification_head("topics", 3)


@torch.no_grad()
def test_a_model_of_fewer_positions_takes_the_first_ones():
    long, short = _subnet(kit.POSITIONS), _subnet(12)
    short.load_state_dict(dict(long.state_dict()))
    assert torch.equal(short(kit.tokens())[0], long(kit.tokens())[0])
    with pytest.raises(UserError, match="--max-positions is 20, but the checkpoint has 12"):
        long.load_state_dict(dict(short.state_dict()))


def test_dropout_shrinks_with_width_and_heads():
    model = kit.supernet(dropout=0.2, attention_dropout=0.1)
    model.activate(model.space.smallest())
    encoder = model.encoder.sentence_encoder
    assert encoder.dropout_module.p == encoder.layers[0].dropout_module.p == pytest.approx(0.2 * 24 / 32)
    assert encoder.layers[0].self_attn.dropout_module.p == pytest.approx(0.1 * 2 / 4)


def test_mixes_have_names_that_can_be_read():
    model = kit.supernet(routing="neuron").eval()
    found = expert_mixes(model, {"a": model.space.largest(), "b": model.space.smallest()})
    assert found.places == [f"encoder {layer} {leaf}" for layer in (1, 2, 3) for leaf in ("fc1", "fc2")]
    assert found.mean[0][0] is not None and found.mean[-1][1] is None


def test_pictures_and_facts_of_pages():
    space = kit.space(bottlenecks=True)
    arch = space.from_genes(space.to_genes(space.smallest()))
    family = family_of(space)
    (stack,) = family.drawing(arch)
    assert (stack.name, stack.width) == ("encoder", 32)
    assert stack.layers == [(48, 2, "2 heads, width 12")]
    assert "encoder: width 32 of 32, 1 of 3 layers" in architecture_svg(arch, space.largest())
    values = {"mask_prob": 0.2, "mask_whole_words": True, "max_positions": 64}
    facts = family.facts(lambda group, name, default=None: values.get(name, default), kit.supernet().state_dict())
    assert facts["dictionary"] == "50 entries" and facts["longest input"] == "64 tokens"
    assert facts["masked"] == "20% of the tokens, whole words"


@torch.no_grad()
def test_extracted_files_have_merged_bottlenecks(tmp_path):
    model = kit.supernet(kit.space(bottlenecks=True))
    write_files(kit.KIT, model, tmp_path)
    rng = random.Random(7)
    arch = next(arch for arch in iter(lambda: model.space.sample(rng), None) if arch.encoder.layers == 3)
    arch.save(tmp_path / "arch.yaml")
    extract_checkpoint(str(tmp_path / "supernet.pt"), str(tmp_path / "arch.yaml"), str(tmp_path / "out" / "subnet.pt"))
    subnet = load_bundle(tmp_path / "out" / "subnet.pt").model
    assert subnet.cfg.bottlenecks == "merged"
    model.eval().activate(arch)
    torch.testing.assert_close(subnet(kit.tokens())[0], model(kit.tokens())[0], rtol=1e-5, atol=1e-5)
    counted = family_of(model.space).counts(arch, family_of(model.space).sizing_of(subnet))
    assert counted["params"] == count_parameters(subnet).total
