"""What an architecture does to weights: it mixes m experts into a dense one (MoS, section 3), and scales channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _MixExperts(torch.autograd.Function):
    """A weighted sum of prefixes, without the zero-padded gradient copies that slicing would cost."""

    @staticmethod
    def forward(ctx, weight: Tensor, mix: Tensor, rows: int, columns: int) -> Tensor:
        factors = _factors(mix, rows)
        active = weight[:, :rows, :columns]
        mixed = active[0] * factors[0]
        for expert, factor in zip(active[1:], factors[1:]):
            mixed.addcmul_(expert, factor)
        ctx.save_for_backward(weight, mix)
        ctx.size = (rows, columns)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        weight, mix = ctx.saved_tensors
        rows, columns = ctx.size
        factors = _factors(mix, rows)
        grad_weight = grad_mix = None
        if ctx.needs_input_grad[0]:
            full = (rows, columns) == tuple(weight.shape[1:])
            grad_weight = torch.empty_like(weight) if full else torch.zeros_like(weight)
            for target, factor in zip(grad_weight, factors):
                torch.mul(grad, factor, out=target[:rows, :columns])
        if ctx.needs_input_grad[1]:
            grad_mix = torch.zeros_like(mix)
            for j, expert in enumerate(weight[:, :rows, :columns]):
                product = grad * expert
                if mix.dim() == 1:
                    grad_mix[j] = product.sum()
                else:
                    grad_mix[:rows, j] = product.sum(-1)
        return grad_weight, grad_mix, None, None


def _factors(mix: Tensor, rows: int) -> list[Tensor]:
    return columns_of(mix if mix.dim() == 1 else mix[:rows])


def columns_of(factors: Tensor) -> list[Tensor]:
    """Returns each expert's factor, of (m), or factors of its rows (rows, 1), of (rows, m)."""
    return [column.unsqueeze(-1) if factors.dim() == 2 else column for column in factors.unbind(-1)]


def mix_experts(weight: Tensor, mix: Tensor, rows: int, columns: int) -> Tensor:
    """Mixes the active prefixes of all experts.

    `mixed[i] = sum_j mix[j] * weight[j, i]` for one mix of the whole weight (MoS, layer-wise), or
    `mixed[i] = sum_j mix[i, j] * weight[j, i]` with a mix for every output neuron i (neuron-wise).

    Args:
        weight: (m, super rows, super columns).
        mix: (m), or (at least `rows`, m).
        rows: active output width.
        columns: active input width.

    Returns:
        A contiguous tensor (rows, columns).
    """
    return _MixExperts.apply(weight, mix.to(weight.dtype), rows, columns)


def scale_and_shift(modulation: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Returns the factors `1 + g` of a leaf's output channels (rows), and what is added to its bias (rows), or None.

    Args:
        modulation: g, and the shift of a leaf with a bias: (rows, 1) or (rows, 2); or None.
    """
    if modulation is None:
        return None, None
    # As columns of their own: this is asked for at every call of a leaf.
    return modulation.select(1, 0) + 1, modulation.select(1, 1) if modulation.shape[1] == 2 else None


def factors_of(mix: Tensor | None, scale: Tensor | None) -> Tensor | None:
    """Returns the factors of the experts' rows, (m) or (rows, m), or None.

    Args:
        mix: (m), or (rows, m); None: there is one expert.
        scale: of the output channels (rows), or None.
    """
    if scale is None:
        return mix
    return scale.unsqueeze(-1) if mix is None else mix * scale.unsqueeze(-1)
