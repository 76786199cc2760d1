"""Routers that wait with mixing until the experts have learnt something."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from fairseq_mos.modules.elastic import ElasticLinear
from fairseq_mos.modules.routing import Router


def routers(network: nn.Module) -> Iterator[Router]:
    """Yields the routers of a network."""
    return (module for module in network.modules() if isinstance(module, Router))


def experts_are_equal(network: nn.Module) -> bool:
    """Whether no weight has experts that differ."""
    leaves = (part for part in network.modules() if isinstance(part, ElasticLinear) and part.num_experts > 1)
    return all(bool((leaf.experts == leaf.experts[:1]).all()) for leaf in leaves)


@torch.no_grad()
def begin_uniform(network: nn.Module) -> None:
    """Makes the routers say the same for every architecture: all experts alike.

    Their last layer becomes 0. So what is trained meanwhile, validated, saved and extracted are the same weights.
    """
    for router in routers(network):
        for parameter in router.output.parameters():
            parameter.zero_()


def drop_gradients(network: nn.Module) -> None:
    """Sets the gradients of the routers to 0, which leaves Adam's moments and their weights where they are."""
    for router in routers(network):
        for parameter in router.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
