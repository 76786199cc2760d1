"""Architectures and spaces that several tests use."""

from __future__ import annotations

import copy

from fairseq_mos.arch import SearchSpace

ARCHITECTURE = {
    "qkv_dim": 64,
    "encoder": {"embed_dim": 96, "layers": 3, "ffn_dims": [256, 128, 64], "self_attention_heads": [4, 2, 4]},
    "decoder": {
        "embed_dim": 64,
        "layers": 2,
        "ffn_dims": [64, 256],
        "self_attention_heads": [2, 4],
        "cross_attention_heads": [4, 4],
        "arbitrary_attention": [-1, 2],
    },
}
"""An architecture of the shipped space `tiny`."""

MINI_SPACE = {
    "name": "mini",
    "qkv_dim": 8,
    "encoder": {"embed_dim": [16, 8], "layers": [2, 1], "ffn_dims": [32, 16], "self_attention_heads": [4, 2]},
    "decoder": {
        "embed_dim": [16, 8],
        "layers": [2, 1],
        "ffn_dims": [32, 16],
        "self_attention_heads": [4, 2],
        "cross_attention_heads": [2],
        "arbitrary_attention": [-1],
    },
}
"""A space small enough to list: 2*(4+16) encoders and 2*(4+16) decoders."""


def changed(data: dict, path: str, value: object) -> dict:
    """Returns a deep copy of `data` with the value at `path` (keys and indices joined by dots) replaced."""
    data = copy.deepcopy(data)
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return data


def mini(**changes: object) -> SearchSpace:
    """Returns the mini space with changes such as `encoder__layers=[2]`."""
    data = MINI_SPACE
    for path, value in changes.items():
        data = changed(data, path.replace("__", "."), value)
    return SearchSpace.from_dict(data)
