"""Toy spaces, dictionaries and models that the tests share."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from torch import nn

from fairseq_mos.arch import SearchSpace
from fairseq_mos.models.config import MosTransformerConfig
from fairseq_mos.models.mos_transformer import MosTransformer

VOCABULARY = 50


def dictionary(words: int = VOCABULARY - 4) -> Dictionary:
    """A dictionary with four special symbols and `words` words."""
    result = Dictionary()
    for i in range(words):
        result.add_symbol(f"word{i}", n=words - i)
    return result


def task(source: Dictionary | None = None, target: Dictionary | None = None) -> SimpleNamespace:
    """What `build_model` needs of a task."""
    source = source or dictionary()
    return SimpleNamespace(source_dictionary=source, target_dictionary=target or source)


def space(qkv_dim: int | str = 16, **decoder) -> SearchSpace:
    """A small space: embed 32/24, feed-forward 64/48/32, 3 layers, heads 4/2."""
    return SearchSpace.from_dict(
        {
            "name": "toy",
            "qkv_dim": qkv_dim,
            "encoder": {
                "embed_dim": [32, 24],
                "layers": [3],
                "ffn_dims": [64, 48, 32],
                "self_attention_heads": [4, 2],
            },
            "decoder": {
                "embed_dim": [32, 24],
                "layers": [3, 2, 1],
                "ffn_dims": [64, 48, 32],
                "self_attention_heads": [4, 2],
                "cross_attention_heads": [4, 2],
                "arbitrary_attention": [-1, 1, 2],
                **decoder,
            },
        }
    )


def supernet(
    routing: str = "neuron", space_: SearchSpace | None = None, task_=None, disturbed: bool = True, **options
) -> MosTransformer:
    """A small supernet without dropout, its biases and norms away from their trivial initial values."""
    values = {"dropout": 0.0, "router_dropout": 0.0, "share_all_embeddings": True, **options}
    if routing == "split":
        values.setdefault("split_gene", "decoder.layers")
    cfg = MosTransformerConfig(
        routing=routing, search_space_definition=(space_ or space()).to_json(), router_hidden_dim=16, **values
    )
    torch.manual_seed(1)
    model = MosTransformer.build_model(cfg, task_ or task())
    if disturbed:
        disturb(model, lambda name: name.endswith(("bias", ".up")) or "norm" in name or "modulation" in name)
    return model


@torch.no_grad()
def disturb(model: nn.Module, which: Callable[[str], bool]) -> None:
    """Moves the parameters of such names away from their trivial initial values."""
    for name, parameter in model.named_parameters():
        if which(name):
            parameter.add_(0.1 * torch.randn_like(parameter))


def batch(sentences: int = 4, source_length: int = 7, target_length: int = 6, seed: int = 0) -> dict:
    """A batch with padding on the source's left and the target's right."""
    rng = torch.Generator().manual_seed(seed)
    source = torch.randint(4, VOCABULARY, (sentences, source_length), generator=rng)
    target = torch.randint(4, VOCABULARY, (sentences, target_length), generator=rng)
    source[:, -1] = target[:, -1] = 2
    for i in range(1, sentences):
        source[i, : i % (source_length - 1)] = 1
        pads = i % (target_length - 1)
        if pads:
            target[i, -pads:] = 1
            target[i, -pads - 1] = 2
    previous = target.roll(1, dims=1)
    previous[:, 0] = 2
    previous[target.eq(1)] = 1
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": source.ne(1).sum(1),
            "prev_output_tokens": previous,
        },
        "target": target,
        "ntokens": int(target.ne(1).sum()),
        "nsentences": sentences,
        "id": torch.arange(sentences),
    }
