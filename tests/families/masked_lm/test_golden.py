"""The published BERT networks' logits are reproduced from their weights."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from fairseq_mos.arch import Architecture, SearchSpace, encoding_dim
from fairseq_mos.families.masked_lm.texts import made_up_dictionary, task_with
from fairseq_mos.models.masked_lm_config import MosRobertaConfig
from fairseq_mos.models.mos_roberta import MosRoberta

PAD = 1
_LEAVES = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "self_attn_layer_norm",
    "output.LayerNorm": "final_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "input_bottleneck": "input_bottleneck",
    "output_bottleneck": "output_bottleneck",
}
_ROUTERS = {"arch_expert": "router", "arch_expert_fc1": "fc1_router", "arch_expert_fc2": "fc2_router"}
_HEAD = {
    "transform.dense.weight": "dense_layer.weight",
    "transform.dense.bias": "dense_layer.bias",
    "transform.LayerNorm.weight": "layer_norm.weight",
    "transform.LayerNorm.bias": "layer_norm.bias",
    "decoder.bias": "bias",
}


def _space(kind: str, sizes: dict) -> SearchSpace:
    """The space of a kind, at toy size; its ratios give the feed-forward widths of the cases."""
    hidden, encoder = sizes["hidden"], {"layers": [sizes["layers"]], "attention_heads": [sizes["heads"]]}
    encoder.update(embed_dim=[hidden], ffn_ratio=[sizes["ffn"] / hidden])
    if kind == "v1":
        encoder["hidden_dims"] = list(range(hidden, 0, -4))
    else:
        encoder.update(embed_dim=list(range(hidden, 0, -4)), ffn_ratio=[3, 2.5, 2, 3.5, 4], attention_heads=[4, 2])
        encoder["layers"] = list(range(sizes["layers"], 0, -1))
    return SearchSpace.from_dict({"name": kind, "family": "masked_lm", "head_dim": "split", "encoder": encoder})


def _architecture(case: dict, sizes: dict) -> Architecture:
    arch = case["arch"]
    if case["space"] == "v1":
        own = {"embed_dim": sizes["hidden"], "ffn_ratio": sizes["ffn"] / sizes["hidden"], "layers": arch["layers"]}
        own.update(attention_heads=arch["heads"][0], hidden_dims=arch["hidden"])
    else:
        ratio = next(r for r in (4, 3.5, 3, 2.5, 2) if int(r * arch["hidden"]) == arch["ffn"])
        own = {"embed_dim": arch["hidden"], "ffn_ratio": ratio, "attention_heads": arch["heads"]}
        own["layers"] = arch["layers"]
    return Architecture.from_dict({"family": "masked_lm", "head_dim": "split", "encoder": own})


def _converted(weights: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the published tensors, stacks experts, and puts what a supernet has more of (features, rows) to zero."""
    state = {name: torch.zeros_like(tensor) for name, tensor in wanted.items()}
    encoder = "encoder.sentence_encoder."
    experts: dict[str, list[torch.Tensor]] = {}

    def put(name: str, value: torch.Tensor) -> None:
        rows = tuple(slice(size) for size in value.shape)
        state[name][rows] = value

    table = weights["bert.embeddings.word_embeddings.weight"]
    put(f"{encoder}embed_tokens.weight", table)
    # fairseq's positions count from the padding on, and it has no token types.
    positions = weights["bert.embeddings.position_embeddings.weight"]
    state[f"{encoder}embed_positions.weight"][PAD + 1 :] = (
        positions + weights["bert.embeddings.token_type_embeddings.weight"][0]
    )
    for part in ("weight", "bias"):
        put(f"{encoder}layernorm_embedding.{part}", weights[f"bert.embeddings.LayerNorm.{part}"])
    for name, value in weights.items():
        if name.startswith("cls.predictions.") and name[len("cls.predictions.") :] in _HEAD:
            put(f"encoder.lm_head.{_HEAD[name[len('cls.predictions.') :]]}", value)
        match = re.fullmatch(r"bert\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
        if match is None:
            continue
        layer, stem, part = match.groups()
        prefix = f"{encoder}layers.{layer}."
        other = re.fullmatch(r"other_(intermediate|output)_experts\.(\d+)\.dense", stem)
        router = re.fullmatch(r"(arch_expert\w*)\.(0|2)", stem)
        if other is not None:
            leaf = "fc1" if other[1] == "intermediate" else "fc2"
            experts.setdefault(f"{prefix}{leaf}.{part}", [None, None])[int(other[2]) + 1] = value
        elif router is not None:
            put(f"{prefix}routing.{_ROUTERS[router[1]]}.{'hidden' if router[2] == '0' else 'output'}.{part}", value)
        elif stem in _LEAVES:
            target = f"{prefix}{_LEAVES[stem]}.{part}"
            if _LEAVES[stem] in ("fc1", "fc2") and wanted[target].dim() > value.dim():
                experts.setdefault(target, [None, None])[0] = value
            else:
                put(target, value)
    for name, stacked in experts.items():
        put(name, torch.stack(stacked))
    return state


@pytest.fixture
def golden(shared_data):
    return json.loads(shared_data("golden_bert/cases.json").read_text()), np.load(
        shared_data("golden_bert/golden.npz")
    )


@pytest.mark.parametrize(
    ("routing", "published"),
    [("shared", "shared"), ("layer", "layer"), ("neuron", "neuron"), ("low-rank", "shared")],
)
@pytest.mark.parametrize("kind", ["v1", "v5.1", "v5.2"])
@torch.no_grad()
def test_logits_of_the_published_network(golden, kind, routing, published):
    """Low rank has none: its differences have no effect at first, so that it is plain sharing."""
    about, arrays = golden
    cases = [case for case in about["cases"] if (case["space"], case["routing"]) == (kind, published)]
    if not cases:
        assert (kind, published) == ("v5.1", "shared")  # the same network as v5.2's
        return
    space = _space(kind, about)
    cfg = MosRobertaConfig(
        search_space_definition=space.to_json(),
        routing=routing,
        num_experts=about["experts"],
        router_hidden_dim=about["router_hidden"],
        arch_encoding="full",
        layer_norm_eps=about["layer_norm_eps"],
    )
    model = MosRoberta.build_model(cfg, task_with(made_up_dictionary(about["vocab"]), about["positions"])).eval()
    prefix = f"{kind}/{published}/"
    weights = {
        name[len(prefix) + 2 :]: torch.from_numpy(arrays[name])
        for name in arrays.files
        if name.startswith(f"{prefix}w/")
    }
    state = _converted(weights, model.state_dict())
    state["search_space_version"] = model.search_space_version
    model.load_state_dict(state)
    for case in cases:
        found = {key: arrays[f"{prefix}{case['case']}/{key}"] for key in ("input_ids", "attention_mask", "logits")}
        hidden = torch.from_numpy(arrays[f"{prefix}{case['case']}/last_hidden_state"])
        name = f"{prefix}{case['case']}/encoding"
        given = arrays[name].reshape(-1).tolist() if name in arrays.files else []
        vector = given + [0.0] * (encoding_dim(space, "full") - len(given))
        real = torch.from_numpy(found["attention_mask"]).bool()
        tokens = torch.from_numpy(found["input_ids"]).long().masked_fill(~real, PAD)
        arch = _architecture(case, about)
        model.activate(arch, vector)
        for network in (model, model.extract(), model.extract(merge=False)):
            scores, features = network(tokens)[0], network(tokens, features_only=True)[0]
            assert (scores[real] - torch.from_numpy(found["logits"])[real]).abs().max() < about["tolerance"]
            assert (features[real] - hidden[real]).abs().max() < about["tolerance"]


def test_all_cases_are_taken(golden):
    about, _ = golden
    assert len(about["cases"]) == 24
