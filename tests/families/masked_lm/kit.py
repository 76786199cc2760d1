"""Masked language models, for the contract; and toy ones that the tests share."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from fairseq.data import Dictionary

from fairseq_mos.arch import SearchSpace
from fairseq_mos.families.masked_lm.family import FAMILY
from fairseq_mos.families.masked_lm.texts import made_up_dictionary, task_with
from fairseq_mos.models.masked_lm_config import MosRobertaConfig
from fairseq_mos.models.mos_roberta import MosRoberta
from tests import toy

VOCABULARY, POSITIONS = 50, 20


def space(bottlenecks: bool = False, **changes) -> SearchSpace:
    """A small space, homogeneous or with bottlenecks."""
    encoder = {"embed_dim": [32, 24], "ffn_ratio": [2, 1.5], "attention_heads": [4, 2], "layers": [3, 2, 1], **changes}
    if bottlenecks:
        encoder.update(embed_dim=[32], hidden_dims=[32, 20, 12])
    data = {"name": "toy_bert", "family": "masked_lm", "head_dim": "split", "encoder": encoder}
    return SearchSpace.from_dict(data)


def supernet(
    space_: SearchSpace | None = None, disturbed: bool = True, dictionary: Dictionary | None = None, **options
) -> MosRoberta:
    """A small supernet without dropout, its biases and norms away from their trivial initial values."""
    if options.get("routing") == "split":
        options.setdefault("split_gene", "encoder.layers")
    values = {"dropout": 0.0, "attention_dropout": 0.0, "router_dropout": 0.0, "router_hidden_dim": 16, **options}
    cfg = MosRobertaConfig(search_space_definition=(space_ or space()).to_json(), **values)
    torch.manual_seed(1)
    model = MosRoberta.build_model(cfg, task_with(dictionary or made_up_dictionary(VOCABULARY), POSITIONS))
    if disturbed:
        toy.disturb(model, lambda name: name.endswith(("bias", ".up")) or "norm" in name or "modulation" in name)
    return model


def tokens() -> torch.Tensor:
    """Three sentences (batch, length), two of them padded."""
    dictionary = made_up_dictionary(VOCABULARY)
    found = torch.randint(5, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(3))
    found[:, 0], found[1, 7:], found[2, 4:] = dictionary.bos(), dictionary.pad(), dictionary.pad()
    return found


KIT = SimpleNamespace(
    family=FAMILY, supernet=supernet, inputs=lambda: {"src_tokens": tokens()}, logits=lambda out: out[0], added=1
)
