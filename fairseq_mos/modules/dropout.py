"""Dropout of activations: made faster in training on a CPU, and switched off for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor, nn

_DRAWS = 2**16
"""Numbers of 16 bits: what is dropped is as rare as the asked-for probability to within one in twice as many."""


class Dropout(FairseqDropout):
    """fairseq's dropout, which in training on a CPU in fp32 decides by 16 random bits for each number.

    torch draws a whole random number for each, which takes as long as a matrix product that is 100 wide. The factors
    of what is kept are those of the probability that 16 bits can express, so means stay what they are.
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """Drops numbers of x (...), in training or where dropout is retained."""
        dropped = round(self.p * _DRAWS)
        fast = self.training and x.device.type == "cpu" and x.dtype == torch.float32 and 0 < dropped < _DRAWS
        return x * _noise(x, dropped) if fast else super().forward(x, inplace)


def _noise(x: Tensor, dropped: int) -> Tensor:
    """Returns random factors for x: zero with a probability of dropped / 2 ** 16, and else what keeps the mean."""
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    factor = _DRAWS / (_DRAWS - dropped)
    noise = bits.view(torch.int16)[: x.numel()].view(x.shape).to(x.dtype)
    # Between two of the numbers, so that none comes to lie within the bounds.
    return noise.sub_(dropped - _DRAWS / 2 - 0.5).mul_(2 * factor).clamp_(0, factor)


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Switches the dropout of activations off inside the block, also for what backward passes compute anew.

    Routers keep theirs: it is no noise on what an architecture computes from tokens, but on which dense weights it has.

    Args:
        network: a network whose active architecture stays the same inside the block.
    """
    kept = [(module, module.p) for module in network.modules() if isinstance(module, FairseqDropout)]
    for module, _ in kept:
        module.p = 0.0
    try:
        yield
    finally:
        for module, probability in kept:
            module.p = probability
