"""Exact zero-padding: the same function in larger matrices, for toolkits with one size for a whole stack."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Linear = "tuple[Tensor, Tensor | None]"


def padded_attention(attention: nn.Module, heads: int, head_dim: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the projections of an attention with more or wider heads that computes the same.

    Added channels of queries, keys and values are zero, so they add nothing to any product; added heads give
    zeros. Queries are scaled where heads become wider, because the toolkit divides by the root of the width.

    Args:
        attention: a :class:`fairseq_mos.modules.attention.Attention` with dense leaves.
        heads: wanted heads, at least as many as it has.
        head_dim: wanted width of a head, at least what it has.

    Returns:
        `q_proj`, `k_proj`, `v_proj` and `out_proj`, each as weight (outputs, inputs) and bias.
    """
    own = attention.num_heads
    width = attention.q_proj.weight.shape[0] // own
    found = {}
    for name in ("q_proj", "k_proj", "v_proj"):
        linear = getattr(attention, name)
        scale = math.sqrt(head_dim / width) if name == "q_proj" else 1.0
        weight, bias = linear.weight.detach(), linear.bias.detach()
        found[name] = (
            _pad_heads(weight, own, heads, head_dim) * scale,
            _pad_heads(bias, own, heads, head_dim) * scale,
        )
    out = attention.out_proj
    found["out_proj"] = (_pad_heads(out.weight.detach().t(), own, heads, head_dim).t(), out.bias.detach())
    return {name: (weight.contiguous(), bias.contiguous()) for name, (weight, bias) in found.items()}


def _pad_heads(rows: Tensor, own: int, heads: int, head_dim: int) -> Tensor:
    """Pads (own * width, ...) to (heads * head_dim, ...)."""
    split = rows.unflatten(0, (own, -1))
    padded = rows.new_zeros(heads, head_dim, *rows.shape[1:])
    padded[:own, : split.shape[1]] = split
    return padded.flatten(0, 1)


def padded_ffn(layer: nn.Module, width: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns `fc1` and `fc2` of a layer, weight and bias, with a wider feed-forward block that computes the same."""
    weight1, bias1 = layer.ffn.fc1.weight.detach(), layer.ffn.fc1.bias.detach()
    weight2, bias2 = layer.ffn.fc2.weight.detach(), layer.ffn.fc2.bias.detach()
    more = width - weight1.shape[0]
    # Whatever the activation makes of zero, the added columns of fc2 ignore it.
    return {
        "fc1": (
            torch.cat([weight1, weight1.new_zeros(more, weight1.shape[1])]),
            torch.cat([bias1, bias1.new_zeros(more)]),
        ),
        "fc2": (torch.cat([weight2, weight2.new_zeros(weight2.shape[0], more)], dim=1), bias2),
    }
