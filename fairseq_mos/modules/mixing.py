"""Making a dense weight of experts, and of its gradient theirs: kernel by kernel, or fused by torch.compile."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mos.errors import UserError, one_line
from fairseq_mos.modules.experts import columns_of, factors_of

_BLOCK = 256 * 1024
"""Numbers of a weight's gradient that each thread of a CPU treats at once: few enough for its caches, many enough for
few calls."""


class Kernels(NamedTuple):
    """What mixes experts, and makes their gradients; for arguments and results see :data:`PLAIN`'s."""

    mixed: Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
    spread: Callable[[Tensor, Tensor, Tensor, Tensor, bool], Tensor]


def _mixed(active: Tensor, mix: Tensor | None, scale: Tensor | None) -> Tensor:
    """Mixes experts and scales the rows of what comes out.

    Args:
        active: the experts' active prefixes (m, rows, columns).
        mix: (m), or (rows, m), which add up to one; None: there is one expert.
        scale: (rows), or None.

    Returns:
        (rows, columns).
    """
    if mix is None:
        return active[0] if scale is None else active[0] * scale.unsqueeze(-1)
    first, *others = columns_of(mix)
    if len(others) == 1:
        # In one pass over both, as what adds up to one.
        mixed = torch.lerp(*active, others[0])
    else:
        mixed = active[0] * first
        for expert, factor in zip(active[1:], others):
            mixed.addcmul_(expert, factor)
    return mixed if scale is None else mixed.mul_(scale.unsqueeze(-1))


def _spread(product: Tensor, active: Tensor, factors: Tensor, target: Tensor, add: bool) -> Tensor:
    """Makes of a mixed weight's gradient those of the experts and that of the factors.

    Block by block on a CPU, so that what is made in between stays in a core's cache.

    Args:
        product: the mixed weight's gradient (rows, columns).
        active: the experts' active prefixes (m, rows, columns).
        factors: of the experts, (m) or (rows, m).
        target: the experts' gradients (m, rows, columns), which are changed.
        add: to what is there; False: it is replaced.

    Returns:
        The factors' gradient, (m) or (rows, m), in fp32 at least.
    """
    rows, columns = product.shape
    step = max(1, _BLOCK * torch.get_num_threads() // columns) if product.device.type == "cpu" else rows
    by_row = factors.dim() == 2
    sums = product.new_empty(rows, len(active), dtype=torch.promote_types(product.dtype, torch.float32))
    for j, factor in enumerate(columns_of(factors)):
        whole = (product, active[j], target[j], sums[:, j])
        if step >= rows:
            _spread_block(*whole, factor, add)
            continue
        own = factor.split(step) if by_row else itertools.repeat(factor)
        for block in zip(*(tensor.split(step) for tensor in whole), own):
            _spread_block(*block, add)
    return sums if by_row else sums.sum(0)


def _spread_block(product: Tensor, expert: Tensor, target: Tensor, sums: Tensor, factor: Tensor, add: bool) -> None:
    if add:
        target.addcmul_(product, factor)
    else:
        torch.mul(product, factor, out=target)
    torch.sum(product * expert, -1, dtype=sums.dtype, out=sums)


PLAIN = Kernels(_mixed, _spread)


def _weighted_sum(active: Tensor, factors: Tensor) -> Tensor:
    return sum(expert * factor for expert, factor in zip(active.unbind(), columns_of(factors)))


def _products(product: Tensor, active: Tensor, factors: Tensor, target: Tensor, add: bool) -> Tensor:
    sums = torch.promote_types(product.dtype, torch.float32)
    found = []
    for expert, factor, place in zip(active.unbind(), columns_of(factors), target.unbind()):
        own = product * factor
        place.copy_(place + own if add else own)
        found.append((product * expert).sum(-1, dtype=sums))
    return torch.stack(found, -1)


_GRAPHS = 64
"""Kernels of each kind, at most: another one for a prefix that is whole in either direction, or square."""


@functools.cache
def fused(device: str, backend: str = "inductor") -> Kernels:
    """Returns kernels that read and write each number once; torch.compile makes them when they are first used.

    Args:
        device: where they will be used; they are tried there.
        backend: of torch.compile.

    Raises:
        UserError: torch.compile does not work there.
    """
    import torch._dynamo

    torch._dynamo.config.cache_size_limit = max(_GRAPHS, torch._dynamo.config.cache_size_limit)
    weighted_sum, products = (
        torch.compile(call, dynamic=True, backend=backend) for call in (_weighted_sum, _products)
    )

    def rows_of(factors: Tensor, rows: int) -> Tensor:
        # Alike for all kinds of mixes, or each would have its kernels.
        return factors.expand(rows, factors.shape[-1]).contiguous()

    def mixed(active: Tensor, mix: Tensor | None, scale: Tensor | None) -> Tensor:
        factors = factors_of(mix, scale)
        return active[0] if factors is None else weighted_sum(active, rows_of(factors, active.shape[1]))

    def spread(product: Tensor, active: Tensor, factors: Tensor, target: Tensor, add: bool) -> Tensor:
        sums = products(product, active, rows_of(factors, len(product)), target, add)
        return sums if factors.dim() == 2 else sums.sum(0)

    try:
        experts = torch.ones(2, 3, 4, device=device)
        for add in (False, True):
            spread(mixed(experts, experts[:, 0, 0], None), experts, experts[:, 0, 0], torch.ones_like(experts), add)
    except Exception as error:  # of dynamo, inductor, Triton or a compiler
        reason = f"{type(error).__name__}: {one_line(error, 300)}"
        raise UserError(f"--fused-mixing needs torch.compile, which does not work here ({reason})") from error
    return Kernels(mixed, spread)
