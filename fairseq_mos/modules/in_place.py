"""Linear layers whose gradients are added straight into the active prefix of their parameters' `.grad`.

The gradient of a slice is, for autograd, a tensor of super size that is zero outside the slice: made, filled and added
for every use. And a mix of experts is a weight of its own, with a gradient of its own. Here the product of a backward
pass ends in the prefix of `.grad` itself (one matrix product that adds, as fused accumulation of weight gradients does
in the training of large models), and experts are mixed anew in the backward pass instead of being kept.

Autograd sees no gradient of such parameters: :func:`gradients_in_place` is for `loss.backward()`, not for
`torch.autograd.grad`, and hooks of parameters do not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
    if mix is None:
        return _Linear.apply(x, modulation, weight, bias, size, expert)
    return _Mixed.apply(x, mix.to(weight.dtype), modulation, weight, bias, size)


def row(x: Tensor, weight: Tensor, bias: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Maps x (columns) to the first outputs of a linear layer, as many as `shape` has, in place where it is wanted."""
    if wanted(weight):
        return rows(x, [(weight, bias, shape)])[0]
    count = math.prod(shape)
    return F.linear(x, weight[:count], bias[:count]).view(shape)


def rows(x: Tensor, layers: Sequence[tuple[Tensor, Tensor, tuple[int, ...]]]) -> tuple[Tensor, ...]:
    """Maps x (columns) to the first outputs of several linear layers, in place.

    Args:
        x: the input of all of them.
        layers: weight, bias and shape of each one's outputs, as for :func:`row`.
    """
    weights, biases, shapes = zip(*layers)
    return _Rows.apply(x, shapes, *weights, *biases)


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


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, shapes, *parameters):
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        ctx.layers = tuple(zip(parameters[: len(shapes)], parameters[len(shapes) :]))
        found = []
        for shape, (weight, bias) in zip(shapes, ctx.layers):
            count = math.prod(shape)
            y = torch.addmv(_prefix(bias, (count,)), _prefix(weight, (count, len(x))), x)
            found.append(y.view(shape))
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor | None):
        (x,), grad_x = ctx.saved_tensors, None
        for grad, (weight, bias) in zip(grads, ctx.layers):
            if grad is None:
                continue
            grad = grad.reshape(-1)
            size = len(grad), len(x)
            if weight.requires_grad:
                target, add = _target(weight, size)
                if add:
                    target.addr_(grad, x)
                else:
                    torch.outer(grad, x, out=target)
            if bias.requires_grad:
                _accumulate(bias, size[:1], grad)
            if ctx.needs_input_grad[0]:
                own = _prefix(weight, size).t()
                grad_x = own.mv(grad) if grad_x is None else grad_x.addmv_(own, grad)
        return grad_x, *(None,) * (1 + 2 * len(ctx.layers))


class _Linear(torch.autograd.Function):
    """Of one weight."""

    @staticmethod
    def forward(ctx, x, modulation, weight, bias, size, expert):
        # Not among the saved tensors, which are other ones where activations are computed again, without this `.grad`.
        ctx.weight, ctx.bias, ctx.size, ctx.expert = weight, bias, size, expert
        ctx.kernels = _state["kernels"]
        flat = x.reshape(-1, size[1])
        scale, shift = scale_and_shift(modulation)
        ctx.save_for_backward(x, scale)
        ctx.shifts = shift is not None
        active = _prefix(weight, size, expert)
        offset = None if bias is None else _prefix(bias, size[:1], expert)
        offset = offset if shift is None else offset + shift
        if scale is None:
            y = F.linear(flat, active, offset)
        elif _scales_outputs(flat):
            y = flat.mm(active.t())
            y = y.mul_(scale) if offset is None else torch.addcmul(offset, y, scale, out=y)
        else:
            y = F.linear(flat, active * scale.unsqueeze(-1), offset)
        return y.view(*x.shape[:-1], size[0])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x, scale), weight, bias, size, expert = ctx.saved_tensors, ctx.weight, ctx.bias, ctx.size, ctx.expert
        flat, grad = x.reshape(-1, size[1]), grad.reshape(-1, size[0])
        active = _prefix(weight, size, expert)
        grad_x = modulation = None
        if ctx.needs_input_grad[0]:
            if scale is None:
                grad_x = grad.mm(active)
            elif _scales_outputs(flat):
                grad_x = (grad * scale).mm(active)
            else:
                # Scaled anew, so that no scaled weight waits for its backward pass.
                grad_x = grad.mm(active * scale.unsqueeze(-1))
            grad_x = grad_x.view(x.shape)
        target, add = _target(weight, size, expert)
        if scale is not None:
            one = active.unsqueeze(0), scale.unsqueeze(-1), target.unsqueeze(0)
            modulation = ctx.kernels.spread(grad.t().mm(flat), *one, add)
        elif add:
            target.addmm_(grad.t(), flat)
        else:
            torch.mm(grad.t(), flat, out=target)
        if bias is not None and (bias.requires_grad or ctx.shifts):
            offset = grad.sum(0)
            if ctx.shifts:
                modulation = torch.cat((modulation, offset.unsqueeze(-1)), 1)
            if bias.requires_grad:
                _accumulate(bias, size[:1], offset, expert)
        return grad_x, None if modulation is None else modulation.to(scale.dtype), None, None, None, None


class _Mixed(torch.autograd.Function):
    """Of a mix of experts, which is made anew in the backward pass."""

    @staticmethod
    def forward(ctx, x, mix, modulation, weight, bias, size):
        ctx.weight, ctx.bias, ctx.size = weight, bias, size
        ctx.kernels = _state["kernels"]
        scale, shift = scale_and_shift(modulation)
        ctx.save_for_backward(x, mix, scale)
        ctx.shifts = shift is not None
        offset = None if bias is None else (_prefix(bias, size[:1]).t() * mix).sum(-1)
        offset = offset if shift is None else offset + shift
        return F.linear(x, ctx.kernels.mixed(_prefix(weight, size), mix, scale), offset)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x, mix, scale), weight, bias, size = ctx.saved_tensors, ctx.weight, ctx.bias, ctx.size
        flat, grad = x.reshape(-1, size[1]), grad.reshape(-1, size[0])
        active = _prefix(weight, size)
        grad_x = modulation = None
        if ctx.needs_input_grad[0]:
            grad_x = grad.mm(ctx.kernels.mixed(active, mix, scale)).view(x.shape)
        target, add = _target(weight, size)
        grad_mix = ctx.kernels.spread(grad.t().mm(flat), active, factors_of(mix, scale), target, add)
        if scale is not None:
            modulation = (grad_mix * mix).sum(-1, keepdim=True)
            grad_mix = _like(mix, grad_mix * scale.unsqueeze(-1))
        if bias is not None:
            offset = grad.sum(0).unsqueeze(-1)
            if ctx.shifts:
                modulation = torch.cat((modulation, offset), 1)
            grad_mix = grad_mix + _like(mix, _prefix(bias, size[:1]).t() * offset)
            if bias.requires_grad:
                _accumulate(bias, size[:1], (offset * mix).t())
        modulation = None if modulation is None else modulation.to(scale.dtype)
        return grad_x, grad_mix.to(mix.dtype), modulation, None, None, None


def _prefix(tensor: Tensor, size: tuple[int, ...], expert: int | None = None) -> Tensor:
    """Returns the active part: `size` in the last dimensions, and one expert of all if it is given."""
    tensor = tensor if expert is None else tensor[expert]
    if tensor.shape[-len(size) :] == size:
        return tensor
    # One view where slicing makes one for each dimension: this is asked for several times at every call of a leaf.
    return tensor.as_strided((*tensor.shape[: -len(size)], *size), tensor.stride())


def _scales_outputs(flat: Tensor) -> bool:
    """Whether to scale outputs and their gradients, where weights are more numbers."""
    return flat.shape[0] < flat.shape[1]


def _like(mix: Tensor, of_rows: Tensor) -> Tensor:
    """Returns the gradient of a mix from that of each row, (rows, m)."""
    return of_rows if mix.dim() == 2 else of_rows.sum(0)


def _target(parameter: Tensor, size: tuple[int, ...], expert: int | None = None) -> tuple[Tensor, bool]:
    """Returns the active part of a parameter's gradient, see :func:`_prefix`, and whether to add to what is there.

    Else it has just been made: the active part is not defined yet, the rest is zero.
    """
    add = parameter.grad is not None
    if not add and expert is not None:
        parameter.grad, add = torch.zeros_like(parameter), True
    elif not add:
        parameter.grad = torch.empty_like(parameter)
        for dim, length in enumerate(size, parameter.dim() - len(size)):
            if parameter.shape[dim] != length:
                parameter.grad.narrow(dim, length, parameter.shape[dim] - length).zero_()
    return _prefix(parameter.grad, size, expert), add


def _accumulate(parameter: Tensor, size: tuple[int, ...], value: Tensor, expert: int | None = None) -> None:
    """Adds to the active part of a parameter's gradient."""
    target, add = _target(parameter, size, expert)
    if add:
        target.add_(value)
    else:
        target.copy_(value)
