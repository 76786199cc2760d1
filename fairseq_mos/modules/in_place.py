"""Linear layers whose gradients are added straight into the active prefix of their parameters' `.grad`.

The gradient of a slice is, for autograd, a tensor of super size that is zero outside the slice: made, filled and added
for every use. And a mix of experts is a weight of its own, with a gradient of its own. Here the product of a backward
pass ends in the prefix of `.grad` itself (one matrix product that adds, as fused accumulation of weight gradients does
in the training of large models), and experts are mixed anew in the backward pass instead of being kept.

Autograd sees no gradient of such parameters: :func:`gradients_in_place` is for `loss.backward()`, not for
`torch.autograd.grad`, and hooks of parameters do not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fairseq_mos.modules.experts import factors_of, scale_and_shift
from fairseq_mos.modules.mixing import PLAIN, Kernels

_state: dict[str, Kernels | None] = {"kernels": None}


@contextmanager
def gradients_in_place(kernels: Kernels = PLAIN) -> Iterator[None]:
    """Inside, forward passes of elastic leaves are made for a backward pass that adds to `.grad` itself.

    Args:
        kernels: what mixes experts, and makes their gradients.
    """
    before, _state["kernels"] = _state["kernels"], kernels
    try:
        yield
    finally:
        _state["kernels"] = before


def wanted(parameter: Tensor) -> bool:
    """Whether :func:`linear` is the way to use a parameter: its gradient is wanted, and will be accumulated."""
    return (
        _state["kernels"] is not None
        and torch.is_grad_enabled()
        and parameter.is_leaf
        and parameter.requires_grad
        and not torch.is_autocast_enabled(parameter.device.type)
    )


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    size: tuple[int, int],
    mix: Tensor | None = None,
    modulation: Tensor | None = None,
    expert: int | None = None,
) -> Tensor:
    """Maps x (..., columns) to (..., rows).

    Args:
        x: the input.
        weight: a parameter (super rows, super columns), or (m, super rows, super columns) of m experts.
        bias: a parameter (super rows) or (m, super rows), or None.
        size: the active part of the weight, (rows, columns).
        mix: of the experts, (m) or (rows, m), which add up to one.
        modulation: of the output channels, see :func:`fairseq_mos.modules.experts.scale_and_shift`.
        expert: the only one that is used.
    """
    mix = None if mix is None else mix.to(weight.dtype)
    return _Linear.apply(x, mix, modulation, weight, bias, size, expert)


def row(x: Tensor, weight: Tensor, bias: Tensor, rows: int | None = None) -> Tensor:
    """Maps x (columns) to the first `rows` of a linear layer's outputs, all by default; in place where it is wanted."""
    rows = len(weight) if rows is None else rows
    if not wanted(weight):
        return F.linear(x, weight[:rows], bias[:rows])
    return _Row.apply(x, weight, bias, rows)


def embedding(tokens: Tensor, weight: Tensor, padding_idx: int, width: int) -> Tensor:
    """Looks tokens (...) up in the first `width` columns of a parameter (vocabulary, super width): (..., width)."""
    return _Embedding.apply(tokens, weight, padding_idx, width)


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tokens, weight, padding_idx, width):
        ctx.save_for_backward(tokens)
        ctx.weight, ctx.padding_idx = weight, padding_idx
        return F.embedding(tokens, weight[:, :width])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (tokens,), weight = ctx.saved_tensors, ctx.weight
        _begin_gradient(weight)
        grad = grad.masked_fill(tokens.eq(ctx.padding_idx).unsqueeze(-1), 0)
        target, rows = weight.grad[:, : grad.shape[-1]], grad.reshape(-1, grad.shape[-1])
        if grad.device.type == "cpu":
            target.index_add_(0, tokens.reshape(-1), rows)
        else:  # in an order that is always the same
            target.index_put_((tokens.reshape(-1),), rows, accumulate=True)
        return None, None, None, None


class _Row(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, rows):
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias = weight, bias
        return torch.addmv(bias[:rows], weight[:rows], x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x,), weight = ctx.saved_tensors, ctx.weight
        rows = len(grad)
        if _begin_gradient(weight, (rows, len(x))):
            weight.grad[:rows].addr_(grad, x)
        else:
            torch.outer(grad, x, out=weight.grad[:rows])
        if ctx.bias.requires_grad:
            _begin_gradient(ctx.bias)
            ctx.bias.grad[:rows] += grad
        return weight[:rows].t().mv(grad) if ctx.needs_input_grad[0] else None, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mix, modulation, weight, bias, size, expert):
        # Not among the saved tensors, which are other ones where activations are computed again, without this `.grad`.
        ctx.weight, ctx.bias, ctx.size, ctx.expert = weight, bias, size, expert
        ctx.kernels = kernels = _state["kernels"]
        rows, columns = size
        flat = x.reshape(-1, columns)
        scale, shift = scale_and_shift(modulation)
        ctx.save_for_backward(x, mix, scale)
        ctx.shifts = shift is not None
        active = _active(weight, size, expert)
        offset = None if bias is None else _mixed_bias(_active_bias(bias, rows, expert), mix)
        offset = offset if shift is None else offset + shift
        if _scales_outputs(flat, mix, scale):
            y = flat.mm(active[0].t())
            y = y.mul_(scale) if offset is None else torch.addcmul(offset, y, scale, out=y)
        else:
            y = F.linear(flat, kernels.mixed(active, mix, scale), offset)
        return y.view(*x.shape[:-1], rows)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x, mix, scale), weight, bias, kernels = ctx.saved_tensors, ctx.weight, ctx.bias, ctx.kernels
        rows, columns = ctx.size
        flat, grad = x.reshape(-1, columns), grad.reshape(-1, rows)
        active = _active(weight, ctx.size, ctx.expert)
        grad_x = grad_mix = modulation = None
        if ctx.needs_input_grad[0]:
            # Mixed anew, so that no mixed weight waits for its backward pass.
            by_output = _scales_outputs(flat, mix, scale)
            grad_x = (grad * scale).mm(active[0]) if by_output else grad.mm(kernels.mixed(active, mix, scale))
            grad_x = grad_x.view(x.shape)
        begun = _begin_gradient(weight, ctx.size if ctx.expert is None else None)
        target = _active(weight.grad, ctx.size, ctx.expert)
        if scale is not None:
            modulation = scale.new_empty(rows, 1 + ctx.shifts)
        if mix is None and scale is None:
            _multiply(grad.t(), flat, target[0], begun)
        else:
            sums = kernels.spread(grad.t().mm(flat), active, factors_of(mix, scale), target, begun)
            if scale is None:
                grad_mix = sums
            elif mix is None:
                modulation[:, 0] = sums[:, 0]
            else:
                modulation[:, 0] = (sums * mix).sum(-1)
                grad_mix = _like(mix, sums * scale.unsqueeze(-1))
        if bias is not None and (bias.requires_grad or ctx.shifts or mix is not None):
            offset = grad.sum(0)
            if ctx.shifts:
                modulation[:, 1] = offset
            if mix is not None:
                offset = offset.unsqueeze(-1)
                grad_mix = grad_mix + _like(mix, _active_bias(bias, rows, None).t() * offset)
                offset = (offset * mix).t()
            if bias.requires_grad:
                _begin_gradient(bias)
                _active_bias(bias.grad, rows, ctx.expert).add_(offset)
        return grad_x, None if grad_mix is None else grad_mix.to(mix.dtype), modulation, None, None, None, None


def _active(tensor: Tensor, size: tuple[int, int], expert: int | None) -> Tensor:
    """Returns the experts' active prefixes, (m, rows, columns)."""
    tensor = tensor if tensor.dim() == 3 else tensor.unsqueeze(0)
    tensor = tensor if expert is None else tensor[expert : expert + 1]
    return tensor[:, : size[0], : size[1]]


def _active_bias(tensor: Tensor, rows: int, expert: int | None) -> Tensor:
    """Returns the experts' active prefixes, (m, rows)."""
    tensor = tensor if tensor.dim() == 2 else tensor.unsqueeze(0)
    tensor = tensor if expert is None else tensor[expert : expert + 1]
    return tensor[:, :rows]


def _scales_outputs(flat: Tensor, mix: Tensor | None, scale: Tensor | None) -> bool:
    """Whether to scale outputs and their gradients: where weights are more numbers, and are not mixed anyway."""
    return scale is not None and mix is None and flat.shape[0] < flat.shape[1]


def _like(mix: Tensor, of_rows: Tensor) -> Tensor:
    """Returns the gradient of a mix from that of each row, (rows, m)."""
    return of_rows if mix.dim() == 2 else of_rows.sum(0)


def _mixed_bias(active: Tensor, mix: Tensor | None) -> Tensor:
    return active[0] if mix is None else (active.t() * mix).sum(-1)


def _begin_gradient(parameter: Tensor, size: tuple[int, int] | None = None) -> bool:
    """Makes a parameter's gradient, if it has none: zero, but undefined within the active prefix that is given.

    Args:
        parameter: an elastic leaf's.
        size: of the prefix that will be written as a whole, in the last two dimensions; None: there is none.

    Returns:
        Whether there was one to add to.
    """
    if parameter.grad is not None:
        return True
    if size is None:
        parameter.grad = torch.zeros_like(parameter)
        return False
    parameter.grad = torch.empty_like(parameter)
    parameter.grad[..., size[0] :, :] = 0
    parameter.grad[..., : size[0], size[1] :] = 0
    return False


def _multiply(a: Tensor, b: Tensor, target: Tensor, add: bool) -> None:
    if add:
        target.addmm_(a, b)
    else:
        torch.mm(a, b, out=target)
