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

_BLOCK = 128 * 1024
"""Numbers of a weight's gradient that a CPU treats at once: few enough for its caches, many enough for few calls."""

_state = {"on": False}


@contextmanager
def gradients_in_place() -> Iterator[None]:
    """Inside, forward passes of elastic leaves are made for a backward pass that adds to `.grad` itself."""
    before, _state["on"] = _state["on"], True
    try:
        yield
    finally:
        _state["on"] = before


def wanted(parameter: Tensor) -> bool:
    """Whether :func:`linear` is the way to use a parameter: its gradient is wanted, and will be accumulated."""
    return (
        _state["on"]
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
    factors: Tensor | None = None,
    expert: int | None = None,
) -> Tensor:
    """Maps x (..., columns) to (..., rows).

    Args:
        x: the input.
        weight: a parameter (super rows, super columns), or (m, super rows, super columns) of m experts.
        bias: a parameter (super rows), or anything else (rows), or None.
        size: the active part of the weight, (rows, columns).
        factors: of the experts, (m) or (rows, m), see :func:`fairseq_mos.modules.experts.mix_experts`; a weight without
            experts is one. By default one.
        expert: the only one that is used.
    """
    flat = x.reshape(-1, x.shape[-1])
    factors = None if factors is None else factors.to(weight.dtype)
    adds = bias is not None and wanted(bias)
    return _Linear.apply(flat, weight, bias, adds, factors, size, expert).unflatten(0, x.shape[:-1])


def row(x: Tensor, weight: Tensor, bias: Tensor, rows: int | None = None) -> Tensor:
    """Maps x (columns) to the first `rows` of a linear layer's outputs, all by default; in place where it is wanted."""
    if not wanted(weight):
        return F.linear(x, weight[:rows], bias[:rows])
    size = (len(weight) if rows is None else rows, len(x))
    return linear(x.unsqueeze(0), weight, bias, size).squeeze(0)


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
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        grad = grad.masked_fill(tokens.eq(ctx.padding_idx).unsqueeze(-1), 0)
        target, rows = weight.grad[:, : grad.shape[-1]], grad.reshape(-1, grad.shape[-1])
        if grad.device.type == "cpu":
            target.index_add_(0, tokens.reshape(-1), rows)
        else:  # in an order that is always the same
            target.index_put_((tokens.reshape(-1),), rows, accumulate=True)
        return None, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, adds, factors, size, expert):
        ctx.save_for_backward(x, factors)
        # Not among the saved tensors, which are other ones where activations are computed again, without this `.grad`.
        ctx.weight, ctx.size, ctx.expert = weight, size, expert
        ctx.bias = bias if adds else None
        return F.linear(x, _mixed(_active(weight, size, expert), factors), None if bias is None else bias[: size[0]])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x, factors), weight = ctx.saved_tensors, ctx.weight
        needs_x, _, needs_bias, _, needs_factors, *_ = ctx.needs_input_grad
        active = _active(weight, ctx.size, ctx.expert)
        # Mixed anew, so that no mixed weight waits for its backward pass.
        grad_x = grad.mm(_mixed(active, factors)) if needs_x else None
        begun = _begin_gradient(weight, ctx.size, ctx.expert)
        target = _active(weight.grad, ctx.size, ctx.expert)
        grad_factors = None
        if factors is None:
            _multiply(grad.t(), x, target[0], begun)
        else:
            grad_factors = _spread(grad.t().mm(x), active, factors, target, begun, needs_factors)
        grad_bias = grad.sum(0) if needs_bias else None
        if ctx.bias is not None:
            _begin_gradient(ctx.bias, (0,))
            ctx.bias.grad[: ctx.size[0]] += grad_bias
            grad_bias = None
        return grad_x, None, grad_bias, None, grad_factors, None, None


def _active(tensor: Tensor, size: tuple[int, int], expert: int | None) -> Tensor:
    """Returns the experts' active prefixes, (m, rows, columns)."""
    tensor = tensor if tensor.dim() == 3 else tensor.unsqueeze(0)
    tensor = tensor if expert is None else tensor[expert : expert + 1]
    return tensor[:, : size[0], : size[1]]


def _mixed(active: Tensor, factors: Tensor | None) -> Tensor:
    if factors is None:
        return active[0]
    first, *others = _columns(factors)
    mixed = active[0] * first
    for expert, factor in zip(active[1:], others):
        mixed.addcmul_(expert, factor)
    return mixed


def _columns(factors: Tensor) -> list[Tensor]:
    return [column.unsqueeze(-1) if factors.dim() == 2 else column for column in factors.unbind(-1)]


def _begin_gradient(parameter: Tensor, size: tuple[int, ...], expert: int | None = None) -> bool:
    """Makes a parameter's gradient, if it has none: zero outside the active prefix, undefined within.

    Returns:
        Whether there was one to add to.
    """
    if parameter.grad is not None:
        return True
    parameter.grad = torch.empty_like(parameter)
    if expert is not None:
        parameter.grad.zero_()
    elif len(size) == 1:
        parameter.grad[size[0] :] = 0
    else:
        parameter.grad[..., size[0] :, :] = 0
        parameter.grad[..., : size[0], size[1] :] = 0
    return False


def _multiply(a: Tensor, b: Tensor, target: Tensor, add: bool) -> None:
    if add:
        target.addmm_(a, b)
    else:
        torch.mm(a, b, out=target)


def _spread(
    product: Tensor, active: Tensor, factors: Tensor, target: Tensor, add: bool, needs_factors: bool
) -> Tensor | None:
    """Makes of a mixed weight's gradient those of the experts, into `target`, and that of the factors.

    Block by block, so that what is made in between stays in a core's cache.
    """
    rows, columns = product.shape
    step = max(1, _BLOCK // columns) if product.device.type == "cpu" else rows
    sums = product.new_empty(rows, len(active), dtype=torch.promote_types(product.dtype, torch.float32))
    parts = product.split(step)
    for j, factor in enumerate(_columns(factors)):
        factors_of = factor.split(step) if factors.dim() == 2 else [factor] * len(parts)
        blocks = zip(parts, factors_of, active[j].split(step), target[j].split(step), sums[:, j].split(step))
        for part, own, expert, grad, own_sums in blocks:
            if add:
                grad.addcmul_(part, own)
            else:
                torch.mul(part, own, out=grad)
            if needs_factors:
                torch.sum(part * expert, -1, dtype=sums.dtype, out=own_sums)
    if not needs_factors:
        return None
    return (sums if factors.dim() == 2 else sums.sum(0)).to(factors.dtype)
