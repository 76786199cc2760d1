"""The two kinds of leaves that the one network is built from: elastic (supernet) and dense (subnet)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.arch.space import Gene
from fairseq_mos.errors import UserError
from fairseq_mos.modules import init
from fairseq_mos.modules.elastic import ElasticEmbedding, ElasticLayerNorm, ElasticLinear, Routed
from fairseq_mos.modules.gates import SCOPES, Gates
from fairseq_mos.modules.low_rank import LowRankLinear
from fairseq_mos.modules.modulation import Modulation
from fairseq_mos.modules.routing import ROUTINGS, Routing

MODULATIONS: dict[str, tuple[type, ...]] = {
    "none": (),
    "norms": (ElasticLayerNorm,),
    "linears": (ElasticLinear,),
    "all": (ElasticLayerNorm, ElasticLinear),
}
"""`--modulation` -> the kinds of leaves that are modulated."""


class DenseEmbedding(nn.Embedding):
    """A table that can be asked for its active part, as an elastic one."""

    def active(self):
        """Returns the table."""
        return self.weight

    def scores(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Scores x (..., width) with the first columns of the table, and a bias (entries): (..., entries)."""
        return F.linear(x, self.weight[:, : x.shape[-1]], bias)


@dataclass(frozen=True)
class LeafOptions:
    """What a family's leaves have in common.

    Attributes:
        eps: of layer norms.
        bert: weights and embeddings are drawn as BERT's, else as a Transformer's for translation.
    """

    eps: float = 1e-5
    bert: bool = False

    def draw(self, fan_out: int | None) -> init.Draw:
        """Returns what fills a weight; see :func:`fairseq_mos.modules.init.xavier_uniform_`."""
        return init.normal_ if self.bert else partial(init.xavier_uniform_, fan_out=fan_out)

    @property
    def embedding_std(self) -> float | None:
        """Standard deviation of embeddings; None: by their width."""
        return init.BERT_STD if self.bert else None


class DenseLeaves:
    """Makes plain `torch.nn` modules of one fixed size."""

    routing: Routing | None = None
    """The routing of the layer, or of a stack's leaves that are in no layer, that leaves are made for."""

    def __init__(self, options: LeafOptions = LeafOptions()):
        self.options = options

    def stack(self, name: str) -> DenseLeaves:
        """Returns what makes the leaves of one stack that are in no layer, and its layers' leaves.

        Args:
            name: of the stack in the schema.
        """
        return self

    def layer(self) -> DenseLeaves:
        """Returns what makes the leaves of a stack's next layer."""
        return self

    def linear(
        self, in_features: int, out_features: int, bias: bool = True, fan_out: int | None = None, part: str = ""
    ):
        """Makes a linear layer; in a supernet it has experts if `part` is in the scope."""
        leaf = nn.Linear(in_features, out_features, bias=bias)
        self.options.draw(fan_out)(leaf.weight)
        if bias:
            nn.init.zeros_(leaf.bias)
        return leaf

    def layer_norm(self, width: int):
        """Makes a layer norm."""
        return nn.LayerNorm(width, self.options.eps)

    def embedding(self, num_embeddings: int, embedding_dim: int, padding_idx: int):
        """Makes an embedding table."""
        leaf = DenseEmbedding(num_embeddings, embedding_dim, padding_idx)
        init.embedding_(leaf.weight, padding_idx, self.options.embedding_std)
        return leaf

    def route(self, **leaves: nn.Module | None) -> None:
        """Connects leaves, under names that are unique in their layer, with the routing."""


class ElasticLeaves(DenseLeaves):
    """Makes elastic modules of super size, weights with experts, and the routing of each layer.

    Args:
        routing: a name of :data:`fairseq_mos.modules.routing.ROUTINGS`.
        num_experts: m; ignored by `shared` routing; with hard gates the most of all leaves.
        encoding_dim: length of the architecture encoding.
        router_hidden_dim: hidden width of the routers.
        router_dropout: dropout of the routers.
        expert_init: a name of :data:`fairseq_mos.modules.init.EXPERT_INITS`.
        expert_scope: a name of :data:`SCOPES`.
        modulation: a name of :data:`MODULATIONS`.
        modulation_hidden_dim: hidden width of the modulation.
        expert_rank: of experts that are differences of low rank.
        gates: of routings with hard gates, see :func:`fairseq_mos.modules.gates.gates_of`.
        options: see :class:`LeafOptions`.
    """

    name: str = ""
    """Of the stack."""
    experts: Mapping[str, int] = {}
    """Of each part of a layer."""
    gates: Mapping[str, Gene] = {}
    """Likewise, with hard gates."""

    def __init__(
        self,
        routing: str,
        num_experts: int,
        encoding_dim: int,
        router_hidden_dim: int = 128,
        router_dropout: float = 0.1,
        expert_init: str = "centered",
        expert_scope: str = "ffn",
        modulation: str = "none",
        modulation_hidden_dim: int = 32,
        expert_rank: int = 8,
        gates: Gates | None = None,
        options: LeafOptions = LeafOptions(),
    ):
        super().__init__(options)
        if routing not in ROUTINGS:
            raise UserError(f"--routing {routing!r} is unknown; allowed: {', '.join(ROUTINGS)}")
        if expert_scope not in SCOPES:
            raise UserError(f"--expert-scope {expert_scope!r} is unknown; allowed: {', '.join(SCOPES)}")
        if modulation not in MODULATIONS:
            raise UserError(f"--modulation {modulation!r} is unknown; allowed: {', '.join(MODULATIONS)}")
        self.num_experts = 1 if routing == "shared" else num_experts
        self.kind = ROUTINGS[routing]
        if self.kind.low_rank and expert_init != "centered":
            raise UserError(f"--expert-init {expert_init} is for whole experts, not --routing {routing}: leave it out")
        self.expert_rank = expert_rank
        self.router = (encoding_dim, router_hidden_dim, router_dropout)
        self.expert_init = expert_init
        self.scope = SCOPES[expert_scope]
        self.modulated = MODULATIONS[modulation]
        self.modulation = (encoding_dim, modulation_hidden_dim)
        self.all_gates = gates
        self.first: list[Routing] = []
        self.layers = itertools.count()

    def stack(self, name: str) -> ElasticLeaves:
        own = self._routed()
        own.name, own.layers = name, itertools.count()
        return own

    def layer(self) -> ElasticLeaves:
        if self.num_experts == 1:
            return self._routed()
        own = self._routed(self.kind(self.num_experts, *self.router, *self.first))
        # The list is one for all copies.
        self.first[:] = self.first or [own.routing]
        own.experts = dict.fromkeys(self.scope, self.num_experts)
        if self.all_gates is not None:
            own.gates = self.all_gates(self.name, next(self.layers))
            own.experts = {part: len(own.gates[part].choices) for part in self.scope if part in own.gates}
        return own

    def _routed(self, routing: Routing | None = None) -> ElasticLeaves:
        own = copy.copy(self)
        own.routing = routing
        if self.modulated:
            own.routing = routing or Routing(1, *self.router)
            own.routing.modulation = Modulation(*self.modulation)
        return own

    def linear(
        self, in_features: int, out_features: int, bias: bool = True, fan_out: int | None = None, part: str = ""
    ):
        experts = self.experts.get(part, 1)
        draw = self.options.draw(fan_out)
        if experts > 1 and self.kind.low_rank:
            leaf = LowRankLinear(in_features, out_features, bias, experts, self.expert_rank, draw)
        else:
            leaf = ElasticLinear(in_features, out_features, bias, experts, self.expert_init, draw)
        leaf.gate = self.gates.get(part)
        return leaf

    def layer_norm(self, width: int):
        return ElasticLayerNorm(width, self.options.eps)

    def embedding(self, num_embeddings: int, embedding_dim: int, padding_idx: int):
        return ElasticEmbedding(num_embeddings, embedding_dim, padding_idx, self.options.embedding_std)

    def route(self, **leaves: Routed | None) -> None:
        for name, leaf in leaves.items():
            if leaf is None or self.routing is None:
                continue
            if leaf.num_experts > 1:
                self.routing.add(name, leaf.rows, leaf.gate)
                leaf.place = (self.routing, name)
            if isinstance(leaf, self.modulated):
                self.routing.modulation.add(name, leaf)
                leaf.place = (self.routing, name)
