"""Which experts a supernet mixes for which architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fairseq_mos.arch import Architecture
from fairseq_mos.modules.elastic import ElasticLinear


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
    leaves = [
        (name, leaf)
        for name, leaf in supernet.named_modules()
        if isinstance(leaf, ElasticLinear) and leaf.num_experts > 1 and leaf.gate is None
    ]
    if not leaves:
        return None
    active = supernet.architecture
    columns: list[dict[str, tuple[float, float]]] = []
    for architecture in architectures.values():
        supernet.activate(architecture)
        there = {id(part) for part in supernet.active_modules()}
        column = {}
        for name, leaf in leaves:
            if id(leaf) in there:
                first = leaf.effect().mix[..., 0].double()
                column[name] = (float(first.mean()), float(first.std(correction=0)) if first.dim() else 0.0)
        columns.append(column)
    supernet.activate(active)
    rows = [[column.get(name) for column in columns] for name, _ in leaves]
    return Mixes(
        list(architectures),
        [_place(name) for name, _ in leaves],
        [[None if cell is None else cell[0] for cell in row] for row in rows],
        [[None if cell is None else cell[1] for cell in row] for row in rows],
        leaves[0][1].num_experts,
    )


def _place(name: str) -> str:
    """`encoder.layers.0.ffn.fc1` -> `encoder 1 fc1`; of what is in no layer, its own name."""
    stack, _, inside = name.partition(".layers.")
    if not inside:
        return name.replace(".", " ")
    index, *rest = inside.split(".")
    return " ".join((stack.split(".")[0], str(int(index) + 1), *(part for part in rest if part != "ffn")))
