"""Gradient conflict: how often two architectures pull the weights that they share in opposite directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_mos.arch import Architecture
from fairseq_mos.modules.attention import Attention
from fairseq_mos.modules.elastic import ElasticEmbedding, ElasticLayerNorm
from fairseq_mos.modules.feed_forward import FeedForward
from fairseq_mos.modules.modulation import Modulation
from fairseq_mos.modules.routing import Router

KINDS: dict[type[nn.Module], str] = {
    Router: "router",
    Modulation: "router",
    Attention: "attention",
    FeedForward: "feed-forward",
    ElasticLayerNorm: "norm",
    ElasticEmbedding: "embedding",
}
"""Class of a module -> kind of its parameters; those of no such module are `other`."""


@dataclass(frozen=True)
class Conflict:
    """Cosines between gradients of two architectures, over pairs of architectures and tensors of one kind.

    Attributes:
        negative: share of the cosines that are below 0, from 0 to 1.
        cosine: their mean, from -1 to 1.
        count: how many there are.
    """

    negative: float
    cosine: float
    count: int


def conflicts(
    supernet: nn.Module,
    batch: Any,
    architectures: Sequence[Architecture],
    loss: Callable[[nn.Module, Any], Tensor],
) -> dict[str, Conflict]:
    """Measures gradient conflict for each kind of leaf.

    A cosine is that of two gradients of one tensor (all experts of a leaf are one), over the entries that both
    architectures have a gradient for: what one of them alone uses cannot be in conflict. GM-NAS splits
    supernets where such cosines are low. The gradients of all architectures are held in memory at once.

    Args:
        supernet: the supernet, in the mode that gradients are wanted of (eval: without dropout). Its gradients stay as
            they are, and so does its active architecture.
        batch: what the loss is of.
        architectures: at least two.
        loss: of the active architecture on the batch, a scalar.

    Returns:
        Kind -> conflict, for the kinds of :data:`KINDS`, or `other`, that two architectures share tensors of.
    """
    parameters = [parameter for parameter in supernet.parameters() if parameter.requires_grad]
    gradients = []
    before = supernet.architecture
    for architecture in architectures:
        supernet.activate(architecture)
        gradients.append(torch.autograd.grad(loss(supernet, batch), parameters, allow_unused=True))
    if before is not None:
        supernet.activate(before)
    kinds = _kinds(supernet)
    found: dict[str, list[float]] = {}
    for first, second in combinations(gradients, 2):
        for parameter, a, b in zip(parameters, first, second):
            cosine = None if a is None or b is None else _cosine(a, b)
            if cosine is not None:
                found.setdefault(kinds.get(parameter, "other"), []).append(cosine)
    return {
        kind: Conflict(sum(c < 0 for c in cosines) / len(cosines), sum(cosines) / len(cosines), len(cosines))
        for kind, cosines in found.items()
    }


def _kinds(supernet: nn.Module) -> dict[nn.Parameter, str]:
    kinds: dict[nn.Parameter, str] = {}
    for module in supernet.modules():
        for kind, name in KINDS.items():
            if isinstance(module, kind):
                kinds.update(dict.fromkeys(module.parameters(), name))
    return kinds


def _cosine(a: Tensor, b: Tensor) -> float | None:
    """Returns the cosine over the entries where neither is 0; None if there are none."""
    common = (a != 0) & (b != 0)
    a, b = a[common].double(), b[common].double()
    # Not torch's cosine_similarity, which takes small gradients, as those of routers are, for smaller cosines.
    return (torch.dot(a, b) / (a.norm() * b.norm())).item() if len(a) else None
