"""Weight initialisation, the same for elastic and dense leaves.

Xavier-uniform at the (super) shape, zero biases, embeddings N(0, dim ** -0.5): HAT, section 3, and fairseq's
`transformer`. Or BERT's, as fairseq's `roberta`: all of them normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fairseq_mos.errors import UserError

BERT_STD = 0.02
"""Standard deviation of all of BERT's weights and embeddings."""

# Spread of the experts around their mean, relative to the mean's own standard deviation ("centered").
_CENTERED_SPREAD = 0.5


def xavier_uniform_(weight: Tensor, fan_out: int | None = None) -> Tensor:
    """Fills `weight` (out, in) in place; `fan_out` counts rows that are initialised jointly.

    Queries, keys and values count as one stacked matrix, as in HAT (and in fairseq, where a gain of
    1 / sqrt(2) does the same for square matrices).
    """
    rows, columns = weight.shape
    bound = math.sqrt(6.0 / ((fan_out or rows) + columns))
    with torch.no_grad():
        return weight.uniform_(-bound, bound)


def embedding_(weight: Tensor, padding_idx: int, std: float | None = None) -> Tensor:
    """Fills an embedding table (vocabulary, dim) in place from N(0, std), by default dim ** -0.5; padding is 0."""
    with torch.no_grad():
        weight.normal_(mean=0.0, std=std or weight.shape[1] ** -0.5)
        weight[padding_idx].zero_()
    return weight


def normal_(weight: Tensor) -> Tensor:
    """Fills `weight` in place as BERT does."""
    with torch.no_grad():
        return weight.normal_(mean=0.0, std=BERT_STD)


def projection_(weight: Tensor) -> Tensor:
    """Fills `weight` (out, in) in place so that its outputs are as large as its inputs: N(0, in ** -0.5)."""
    with torch.no_grad():
        return weight.normal_(std=weight.shape[1] ** -0.5)


Draw = Callable[[Tensor], Tensor]
"""Fills a weight (out, in) in place."""


def scattered(center: Tensor, deviations: Tensor, spread: float) -> Tensor:
    """Returns experts (m, out, in) that average to a weight exactly.

    Args:
        center: the weight (out, in).
        deviations: independent draws (m, out, in).
        spread: each expert's deviation, relative to the draws'.
    """
    m = deviations.shape[0]
    # Centring m independent draws leaves each a variance of (m - 1) / m: undo it, so that the spread is
    # the same for every m.
    scale = spread * math.sqrt(m / max(m - 1, 1))
    return center + scale * (deviations - deviations.mean(0))


def _independent(weight: Tensor, draw: Draw) -> None:
    for expert in weight:
        draw(expert)


def _copies(weight: Tensor, draw: Draw) -> None:
    draw(weight[0])
    with torch.no_grad():
        weight[1:] = weight[0]


def _centered(weight: Tensor, draw: Draw) -> None:
    deviations = torch.empty_like(weight)
    _independent(deviations, draw)
    center = draw(torch.empty_like(weight[0]))
    with torch.no_grad():
        weight.copy_(scattered(center, deviations, _CENTERED_SPREAD))


EXPERT_INITS = {
    # The experts scatter around one Xavier draw and average to it exactly, so a uniform mix is an ordinary
    # Xavier matrix and any other mix is at most 12% wider: unlike "published", where the mix of m
    # independent draws has only 1 / sqrt(m) of the intended standard deviation, and unlike "copy", where
    # the router's gradient is zero at first because all experts are equal.
    "centered": _centered,
    "published": _independent,
    "copy": _copies,
}


def experts_(weight: Tensor, init: str, draw: Draw) -> Tensor:
    """Fills stacked expert weights (m, out, in) in place by the named rule of :data:`EXPERT_INITS`."""
    if init not in EXPERT_INITS:
        raise UserError(f"--expert-init {init!r} is unknown; allowed: {', '.join(EXPERT_INITS)}")
    EXPERT_INITS[init](weight, draw)
    return weight
