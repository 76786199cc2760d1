"""Switching dropout off for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fairseq.modules import FairseqDropout
from torch import nn


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
