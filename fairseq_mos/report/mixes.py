"""Which experts a supernet mixes for which architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fairseq_mos.arch import Architecture


@dataclass(frozen=True)
class Mixes:
    """Weights of the first expert.

    Attributes:
        architectures: names of the columns.
        places: names of the rows, such as `encoder 1 fc1`.
        mean: place -> architecture -> mean weight over the output neurons; None where the layer is not there.
        spread: likewise the standard deviation over the output neurons; 0 for layer-wise routing.
        experts: how many there are.
    """

    architectures: list[str]
    places: list[str]
    mean: list[list[float | None]]
    spread: list[list[float | None]]
    experts: int


@torch.no_grad()
def expert_mixes(supernet: nn.Module, architectures: Mapping[str, Architecture]) -> Mixes | None:
    """Returns the mixes of a supernet in eval mode; None where it has no experts to mix."""
    stacks = (("encoder", supernet.encoder), ("decoder", supernet.decoder))
    if all(layer.routing is None for _, stack in stacks for layer in stack.layers):
        return None
    places = [
        f"{side} {index + 1} {name}"
        for side, stack in stacks
        for index in range(len(stack.layers))
        for name in ("fc1", "fc2")
    ]
    columns: list[list[tuple[float, float] | None]] = []
    experts = 0
    active = supernet.architecture
    for architecture in architectures.values():
        supernet.activate(architecture)
        column: list[tuple[float, float] | None] = []
        for _, stack in stacks:
            for index, layer in enumerate(stack.layers):
                if index >= stack.active_layers:
                    column += [None, None]
                    continue
                for mix in layer.routing.mixes():
                    experts = mix.shape[-1]
                    first = mix[..., 0].double()
                    column.append((float(first.mean()), float(first.std(correction=0)) if first.dim() else 0.0))
        columns.append(column)
    supernet.activate(active)
    rows = list(zip(*columns))
    return Mixes(
        list(architectures),
        places,
        [[None if cell is None else cell[0] for cell in row] for row in rows],
        [[None if cell is None else cell[1] for cell in row] for row in rows],
        experts,
    )
