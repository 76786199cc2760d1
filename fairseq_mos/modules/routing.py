"""Routers: from the encoding of an architecture (never from tokens) to what it does to the leaves of a layer.

Routing is a property of a layer, chosen by name from :data:`ROUTINGS`. Another one is a subclass of
:class:`Routing` in this table; the network does not change.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.arch.space import Gene
from fairseq_mos.modules import in_place
from fairseq_mos.modules.kept import Elastic
from fairseq_mos.modules.modulation import Modulation


class Router(nn.Module):
    """Linear, ReLU, dropout, linear (MoS, section 3): encoding (e) to logits (out).

    Args:
        encoding_dim: e, the length of the architecture encoding.
        hidden_dim: width of the hidden layer.
        out_features: number of logits.
        dropout: dropout probability after the ReLU, in training.
    """

    def __init__(self, encoding_dim: int, hidden_dim: int, out_features: int, dropout: float):
        super().__init__()
        self.hidden = nn.Linear(encoding_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, out_features)
        self.dropout = dropout

    def forward(self, encoding: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
        """Returns the logits for encoding (e): all, or as many of the first as `shape` has, in that shape."""
        hidden = F.relu(self.hidden(encoding.to(self.hidden.weight.dtype)))
        # In training alone: --retain-dropout is about tokens, and a subnet's mixes are fixed.
        hidden = F.dropout(hidden, self.dropout, self.training)
        shape = (self.output.out_features,) if shape is None else shape
        return in_place.row(hidden, self.output.weight, self.output.bias, shape)

    def tensors(self) -> tuple[Tensor, ...]:
        """Its parameters; asked for at every call of a leaf, where walking over modules would be felt."""
        return self.hidden.weight, self.hidden.bias, self.output.weight, self.output.bias


class Effect(NamedTuple):
    """What an architecture does to a leaf.

    Attributes:
        mix: of its experts: (m), or (active output width, m); a number: that expert alone; None without experts.
        modulation: of its output channels, see :func:`fairseq_mos.modules.experts.scale_and_shift`, or None.
    """

    mix: Tensor | int | None = None
    modulation: Tensor | None = None


def _softmax(logits: Tensor) -> Tensor:
    # In fp32 at least: half precision rounds mixes of nearly one to one.
    return torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))


class Routing(Elastic):
    """What the active architecture does to the leaves of one layer, which ask for it when they are used.

    A subclass mixes experts; this one has none, and is there for its modulation.

    Args:
        num_experts: m.
        encoding_dim: length of the architecture encoding.
        hidden_dim: hidden width of the routers.
        dropout: dropout of the routers.
        first: the routing of the network's first layer; None: this is the first.
    """

    low_rank = False
    """Whether experts are differences of low rank from one weight; see :mod:`fairseq_mos.modules.low_rank`."""

    def __init__(
        self, num_experts: int, encoding_dim: int, hidden_dim: int, dropout: float, first: Routing | None = None
    ):
        super().__init__()
        self.num_experts = num_experts
        self.encoding: Tensor = torch.zeros(encoding_dim)
        self.router_size = (encoding_dim, hidden_dim)
        self.router_dropout = dropout
        self.modulation: Modulation | None = None

    def add(self, name: str, rows: int, gate: Gene | None = None) -> None:
        """Makes ready for a leaf with experts.

        Args:
            name: unique in its layer.
            rows: its output width in super size.
            gate: the gene that chooses its expert, with hard gates.
        """
        raise TypeError(f"{type(self).__name__} does not define add()")

    def activate(self, encoding: Tensor, genes: Mapping[str, int]) -> None:
        """Sets the encoding of the active architecture, and its genes (name -> value)."""
        self.encoding = encoding
        self.drop_kept()
        if self.modulation is not None:
            self.modulation.activate(encoding)

    def begin(self) -> None:
        """Begins a pass through the layer: leaves that are treated alike are so until the next one begins."""
        if self.modulation is not None:
            self.modulation.begin()

    def mix(self, name: str, rows: int) -> Tensor | int:
        """Returns the mix of a leaf that was added, with `rows` active output channels."""
        raise TypeError(f"{type(self).__name__} does not define mix()")

    def effect(self, name: str, rows: int, experts: int) -> Effect:
        """Returns what the architecture does to a leaf.

        Args:
            name: of the leaf.
            rows: its active output width.
            experts: how many it has.
        """
        mix = self.mix(name, rows) if experts > 1 else None
        if self.modulation is None or name not in self.modulation.outputs:
            return Effect(mix)
        return Effect(mix, self.modulation.effect(name, rows))

    def reads(self, name: str, experts: int) -> Hashable:
        """Returns what the effect on a leaf depends on, besides the leaf's size; see :meth:`effect`."""
        modulated = self.modulation is not None and name in self.modulation.outputs
        return tuple(self.encoding.tolist()) if experts > 1 or modulated else ()

    def signature(self) -> Hashable:
        # What it does to leaves is theirs.
        return ()

    def dense(self):
        """Yields nothing: leaves become dense with their mix in them."""
        return iter(())


class LayerRouting(Routing):
    """Layer-wise MoS: one softmax over the experts, for all leaves of a layer together."""

    def __init__(self, num_experts, encoding_dim, hidden_dim, dropout, first=None):
        super().__init__(num_experts, encoding_dim, hidden_dim, dropout, first)
        self._pass: Tensor | None = None

    def add(self, name: str, rows: int, gate: Gene | None = None) -> None:
        if not hasattr(self, "router"):
            self.router = Router(*self.router_size, self.num_experts, self.router_dropout)

    @property
    def shared(self) -> Router:
        """The router."""
        return self.router

    def begin(self) -> None:
        super().begin()
        self._pass = None

    def mix(self, name: str, rows: int) -> Tensor:
        if not (self.training or torch.is_grad_enabled()):
            return self.materialised(self._compute)
        # With dropout a router says something else each time that it is asked.
        if self._pass is None:
            self._pass = self._compute()
        return self._pass

    def sources(self, key=None):
        return self.shared.tensors()

    def _compute(self) -> Tensor:
        return _softmax(self.shared(self.encoding))

    def drop_kept(self) -> None:
        if self._pass is not None:
            self._pass = None
        super().drop_kept()

    def __getstate__(self):
        return {**super().__getstate__(), "_pass": None}


class LowRankRouting(LayerRouting):
    """Layer-wise mixing of experts that are differences of low rank from one weight.

    Layer-wise, since routers should not cost what the experts save: a neuron-wise router has
    (hidden width + 1) * m numbers for each output neuron, the differences themselves only m * r, and r for an input.
    """

    low_rank = True


class NeuronRouting(Routing):
    """Neuron-wise MoS: a softmax over the experts for every output neuron, a router for each leaf."""

    def add(self, name: str, rows: int, gate: Gene | None = None) -> None:
        setattr(self, f"{name}_router", Router(*self.router_size, self.num_experts * rows, self.router_dropout))

    def mix(self, name: str, rows: int) -> Tensor:
        return self.materialised(lambda: self._compute(name, rows), key=name)

    def sources(self, key=None):
        return getattr(self, f"{key}_router").tensors()

    def _compute(self, name: str, rows: int) -> Tensor:
        # Rows come neuron by neuron, so a narrower layer uses the first of them (MoS, published code).
        return _softmax(getattr(self, f"{name}_router")(self.encoding, (rows, self.num_experts)))


class GlobalRouting(LayerRouting):
    """One mix for the whole network: k-shot NAS (Su et al. 2021), by default restricted to the feed-forward weights.

    The network's layers share one router (the first layer owns its parameters). It has no dropout: each layer
    evaluates it anew, and all must see the same mix.
    """

    def __init__(self, num_experts, encoding_dim, hidden_dim, dropout, first=None):
        super().__init__(num_experts, encoding_dim, hidden_dim, 0.0, first)
        # In a tuple, so that it is no submodule here and its router has one key in the state dict.
        self.first = (first,)

    def add(self, name: str, rows: int, gate: Gene | None = None) -> None:
        if self.first[0] is None:
            super().add(name, rows)

    @property
    def shared(self) -> Router:
        return (self.first[0] or self).router


class GateRouting(Routing):
    """Hard gates: a leaf uses one expert alone, that of the value of its gene; see :mod:`fairseq_mos.modules.gates`.

    Experts are numbered as the gene's choices are, from large to small.
    """

    def __init__(self, num_experts, encoding_dim, hidden_dim, dropout, first=None):
        super().__init__(num_experts, encoding_dim, hidden_dim, dropout, first)
        self.gates: dict[str, Gene] = {}
        self.genes: Mapping[str, int] = {}

    def add(self, name: str, rows: int, gate: Gene | None = None) -> None:
        self.gates[name] = gate

    def activate(self, encoding: Tensor, genes: Mapping[str, int]) -> None:
        super().activate(encoding, genes)
        self.genes = genes

    def reads(self, name: str, experts: int) -> Hashable:
        # The modulation's alone: no expert is mixed by the encoding.
        return super().reads(name, 1), self.mix(name, 0) if experts > 1 else None

    def mix(self, name: str, rows: int) -> int:
        gene = self.gates[name]
        return gene.choices.index(self.genes[gene.name])


ROUTINGS: dict[str, type[Routing]] = {
    "shared": Routing,
    "global": GlobalRouting,
    "layer": LayerRouting,
    "neuron": NeuronRouting,
    "low-rank": LowRankRouting,
    "split": GateRouting,
    "disentangled": GateRouting,
}
