"""The published network's logits are reproduced from its weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.models.config import MosTransformerConfig
from fairseq_mos.models.mos_transformer import MosTransformer
from fairseq_mos.modules.residuals import is_residual
from tests import toy

STACKED = ("q_proj", "k_proj", "v_proj")


def _architecture(published: dict) -> Architecture:
    encoder, decoder = published["encoder"], published["decoder"]
    return Architecture.from_dict(
        {
            "qkv_dim": 16,
            "encoder": {
                "embed_dim": encoder["encoder_embed_dim"],
                "layers": encoder["encoder_layer_num"],
                "ffn_dims": encoder["encoder_ffn_embed_dim"],
                "self_attention_heads": encoder["encoder_self_attention_heads"],
            },
            "decoder": {
                "embed_dim": decoder["decoder_embed_dim"],
                "layers": decoder["decoder_layer_num"],
                "ffn_dims": decoder["decoder_ffn_embed_dim"],
                "self_attention_heads": decoder["decoder_self_attention_heads"],
                "cross_attention_heads": decoder["decoder_ende_attention_heads"],
                "arbitrary_attention": decoder["decoder_arbitrary_ende_attn"],
            },
        }
    )


def _space() -> SearchSpace:
    side = {"embed_dim": [32, 24], "ffn_dims": [64, 48, 32], "self_attention_heads": [4, 2]}
    return SearchSpace.from_dict(
        {
            "name": "golden",
            "qkv_dim": 16,
            "encoder": {**side, "layers": [3]},
            "decoder": {
                **side,
                "layers": [3, 2, 1],
                "cross_attention_heads": [4, 2],
                "arbitrary_attention": [-1, 1, 2],
            },
        }
    )


def _converted(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the published tensors: stacks experts, splits stacked projections."""
    state: dict[str, torch.Tensor] = {}
    experts: dict[str, dict[int, torch.Tensor]] = {}
    for name, value in weights.items():
        stem, _, last = name.rpartition(".")
        if "active_arch_embed" in name or name.endswith("version") or "output_projection" in name:
            continue
        if "in_proj_" in last:
            for projection, part in zip(STACKED, value.chunk(3)):
                state[f"{stem}.{projection}.{last.replace('in_proj_', '')}"] = part
        elif "other_" in name:
            layer, kind, number, tensor = name.rsplit(".", 3)
            leaf = "fc1" if "intermediate" in kind else "fc2"
            experts.setdefault(f"{layer}.{leaf}.{tensor}", {})[int(number) + 1] = value
        elif ".fc1." in name or ".fc2." in name:
            experts.setdefault(name, {})[0] = value
        elif "_expert." in name:
            layer, router, index, tensor = name.rsplit(".", 3)
            router = {"arch_expert": "router"}.get(router, router.replace("_expert", "_router"))
            part = {"0": "hidden", "3": "output"}[index]
            state[f"{layer}.routing.{router}.{part}.{tensor}"] = value
        else:
            state[name] = value
    for name, by_number in experts.items():
        stacked = torch.stack([by_number[j] for j in range(len(by_number))])
        state[name] = stacked[0] if len(by_number) == 1 else stacked
    return state


@pytest.mark.parametrize(
    ("routing", "published"),
    [("shared", "shared"), ("layer", "layer"), ("neuron", "neuron"), ("low-rank", "shared")],
)
def test_published_logits(shared_data, routing, published):
    """Low rank has none: its differences have no effect at first, so that it is plain sharing."""
    archive = np.load(shared_data("golden/golden.npz"))
    cases = json.loads(shared_data("golden/cases.json").read_text())
    cfg = MosTransformerConfig(
        routing=routing,
        num_experts=cases["experts"],
        router_hidden_dim=cases["router_hidden"],
        search_space_definition=_space().to_json(),
        share_all_embeddings=True,
        no_token_positional_embeddings=True,
    )
    model = MosTransformer.build_model(cfg, toy.task())
    prefix = f"{published}/w/"
    names = [n for n in archive.files if n.startswith(prefix)]
    weights = {n[len(prefix) :]: torch.from_numpy(archive[n]) for n in names}
    missing, unexpected = torch.nn.Module.load_state_dict(model, _converted(weights), strict=False)
    assert not unexpected
    own = {name for name in missing if routing == "low-rank" and is_residual(name)}
    assert set(missing) - own <= {"search_space_version", "decoder.embed_tokens.weight"}
    model.eval()
    checked = 0
    for case in cases["cases"]:
        if case["routing"] != published:
            continue
        get = {k: torch.from_numpy(archive[f"{published}/{case['case']}/{k}"]) for k in ("src", "tgt", "logits")}
        encoding = None
        if f"{published}/{case['case']}/encoding" in archive.files:
            encoding = archive[f"{published}/{case['case']}/encoding"].tolist()
        model.activate(_architecture(case["arch"]), encoding)
        with torch.no_grad():
            logits, _ = model(get["src"], None, get["tgt"])
        torch.testing.assert_close(logits, get["logits"], atol=1e-4, rtol=0)
        checked += 1
    assert checked == 3
