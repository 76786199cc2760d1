"""Routers: from the encoding of an architecture (never from tokens) to the mix of a layer's experts.

Routing is a property of a feed-forward block, chosen by name from :data:`ROUTINGS`. Another one is a subclass
of :class:`Routing` in this table; the network does not change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.modules.elastic import Elastic


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

    def forward(self, encoding: Tensor, rows: int | None = None) -> Tensor:
        """Returns the first `rows` logits (all by default) for encoding (e)."""
        hidden = F.relu(self.hidden(encoding.to(self.hidden.weight.dtype)))
        # In training alone: --retain-dropout is about tokens, and a subnet's mixes are fixed.
        hidden = F.dropout(hidden, self.dropout, self.training)
        return F.linear(hidden, self.output.weight[:rows], self.output.bias[:rows])


def _softmax(logits: Tensor) -> Tensor:
    # In fp32: half precision rounds mixes of nearly one to one.
    return torch.softmax(logits.float(), dim=-1)


class Routing(Elastic):
    """The mixes of one feed-forward block.

    Args:
        num_experts: m.
        embed_dim: super embed width (the output width of fc2).
        ffn_dim: super feed-forward width (the output width of fc1).
        encoding_dim: length of the architecture encoding.
        hidden_dim: hidden width of the routers.
        dropout: dropout of the routers.
    """

    def __init__(
        self,
        num_experts: int,
        embed_dim: int,
        ffn_dim: int,
        encoding_dim: int,
        hidden_dim: int,
        dropout: float,
    ):
        super().__init__()
        self.num_experts = num_experts
        self.size = (ffn_dim, embed_dim)
        self.encoding: Tensor = torch.zeros(encoding_dim)

    def resize(self, encoding: Tensor, ffn_dim: int, embed_dim: int) -> None:
        """Sets the encoding and the active output widths of fc1 and fc2."""
        self.encoding = encoding
        self.size = (ffn_dim, embed_dim)
        self.drop_kept()

    def mixes(self) -> tuple[Tensor, Tensor]:
        """Returns the mixes of fc1 and fc2: each (m), or (active width, m)."""
        return self.materialised(self.compute)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Computes the mixes from the encoding."""
        raise TypeError(f"{type(self).__name__} does not define compute()")


class LayerRouting(Routing):
    """Layer-wise MoS: one softmax over the experts, for fc1 and fc2 of a layer together."""

    def __init__(self, num_experts, embed_dim, ffn_dim, encoding_dim, hidden_dim, dropout):
        super().__init__(num_experts, embed_dim, ffn_dim, encoding_dim, hidden_dim, dropout)
        self.router = Router(encoding_dim, hidden_dim, num_experts, dropout)

    def compute(self) -> tuple[Tensor, Tensor]:
        mix = _softmax(self.router(self.encoding))
        return mix, mix


class NeuronRouting(Routing):
    """Neuron-wise MoS: a softmax over the experts for every output neuron, routers for fc1 and fc2 apart."""

    def __init__(self, num_experts, embed_dim, ffn_dim, encoding_dim, hidden_dim, dropout):
        super().__init__(num_experts, embed_dim, ffn_dim, encoding_dim, hidden_dim, dropout)
        self.fc1_router = Router(encoding_dim, hidden_dim, num_experts * ffn_dim, dropout)
        self.fc2_router = Router(encoding_dim, hidden_dim, num_experts * embed_dim, dropout)

    def compute(self) -> tuple[Tensor, Tensor]:
        mixes = []
        for router, width in zip((self.fc1_router, self.fc2_router), self.size):
            # Rows come neuron by neuron, so a narrower layer uses the first of them (MoS, published code).
            logits = router(self.encoding, width * self.num_experts)
            mixes.append(_softmax(logits.view(width, self.num_experts)))
        return mixes[0], mixes[1]


class GlobalRouting(Routing):
    """One mix for the whole network: k-shot NAS, restricted to the feed-forward weights.

    The network's blocks share one router (the first block that the factory makes owns its parameters). It
    has no dropout: each layer evaluates it anew, and all must see the same mix.
    """

    def __init__(self, num_experts, embed_dim, ffn_dim, encoding_dim, hidden_dim, dropout, shared=None):
        super().__init__(num_experts, embed_dim, ffn_dim, encoding_dim, hidden_dim, dropout)
        if shared is None:
            self.router = Router(encoding_dim, hidden_dim, num_experts, dropout=0.0)
            self.reference = (self.router,)
        else:
            # In a tuple, so that it is no submodule here and has one key in the state dict.
            self.reference = shared.reference

    def sources(self):
        return self.reference[0].parameters()

    def compute(self) -> tuple[Tensor, Tensor]:
        mix = _softmax(self.reference[0](self.encoding))
        return mix, mix


ROUTINGS: dict[str, type[Routing] | None] = {
    "shared": None,
    "global": GlobalRouting,
    "layer": LayerRouting,
    "neuron": NeuronRouting,
}
