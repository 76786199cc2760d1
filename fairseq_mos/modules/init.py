"""Weight initialisation, the same for elastic and dense leaves.

Xavier-uniform at the (super) shape, zero biases, embeddings N(0, dim ** -0.5): HAT, section 3, and fairseq's
`transformer`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairseq_mos.errors import UserError

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


def embedding_(weight: Tensor, padding_idx: int) -> Tensor:
    """Fills an embedding table (vocabulary, dim) in place; the padding row is zero."""
    with torch.no_grad():
        weight.normal_(mean=0.0, std=weight.shape[1] ** -0.5)
        weight[padding_idx].zero_()
    return weight


def _independent(weight: Tensor, fan_out: int | None) -> None:
    for expert in weight:
        xavier_uniform_(expert, fan_out)


def _copies(weight: Tensor, fan_out: int | None) -> None:
    xavier_uniform_(weight[0], fan_out)
    with torch.no_grad():
        weight[1:] = weight[0]


def _centered(weight: Tensor, fan_out: int | None) -> None:
    deviations = torch.empty_like(weight)
    _independent(deviations, fan_out)
    center = xavier_uniform_(torch.empty_like(weight[0]), fan_out)
    m = weight.shape[0]
    # Centring m independent draws leaves each a variance of (m - 1) / m: undo it, so that the spread is
    # the same for every m.
    scale = _CENTERED_SPREAD * math.sqrt(m / max(m - 1, 1))
    with torch.no_grad():
        weight.copy_(center + scale * (deviations - deviations.mean(0)))


EXPERT_INITS = {
    # The experts scatter around one Xavier draw and average to it exactly, so a uniform mix is an ordinary
    # Xavier matrix and any other mix is at most 12% wider: unlike "published", where the mix of m
    # independent draws has only 1 / sqrt(m) of the intended standard deviation, and unlike "copy", where
    # the router's gradient is zero at first because all experts are equal.
    "centered": _centered,
    "published": _independent,
    "copy": _copies,
}


def experts_(weight: Tensor, init: str, fan_out: int | None = None) -> Tensor:
    """Fills stacked expert weights (m, out, in) in place by the named rule of :data:`EXPERT_INITS`."""
    if init not in EXPERT_INITS:
        raise UserError(f"--expert-init {init!r} is unknown; allowed: {', '.join(EXPERT_INITS)}")
    EXPERT_INITS[init](weight, fan_out)
    return weight
