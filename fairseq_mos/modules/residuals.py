"""What an architecture adds to the weights that all architectures share, by the names in a state dict.

Differences of low rank and channel modulation start without effect. So a supernet that was trained without them is one
with them, and they can be trained after it, over frozen weights (TAS-LoRA, arXiv 2605.07256).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_DIFFERENCES = (".up", ".down")
_WITHOUT_EFFECT = (".up", ".modulation.outputs.")
"""In names of what is zero where there is no effect."""


def is_residual(name: str) -> bool:
    """Whether a tensor is no part of the shared weights: a router's, modulation's or a difference's."""
    return ".routing." in f".{name}" or name.endswith(_DIFFERENCES)


def _is_modulation(name: str) -> bool:
    return ".modulation." in name


def with_residuals(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state dict of a supernet, completed if it was trained without differences or without modulation.

    What is there in part stays so: it is damaged.

    Args:
        state: what was saved.
        own: of the supernet that it is loaded into; what is not zero at first is as it is there.
    """
    found = dict(state)
    differences = any(name.endswith(_DIFFERENCES) for name in own)
    modulation = {name for name in own if _is_modulation(name)}
    rest = {name for name in own if is_residual(name)} - modulation if differences else set()
    for names in (modulation, rest):
        if names and names.isdisjoint(state):
            for name in names:
                zero = any(part in name for part in _WITHOUT_EFFECT)
                found[name] = torch.zeros_like(own[name]) if zero else own[name]
    return found
