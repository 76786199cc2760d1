"""The two kinds of leaves that the one network is built from: elastic (supernet) and dense (subnet)."""

from __future__ import annotations

from torch import nn

from fairseq_mos.errors import UserError
from fairseq_mos.modules import init
from fairseq_mos.modules.elastic import ElasticEmbedding, ElasticLayerNorm, ElasticLinear
from fairseq_mos.modules.routing import ROUTINGS, GlobalRouting, Routing


class DenseLeaves:
    """Makes plain `torch.nn` modules of one fixed size."""

    def linear(self, in_features: int, out_features: int, bias: bool = True, fan_out: int | None = None):
        """Makes a linear layer without experts."""
        leaf = nn.Linear(in_features, out_features, bias=bias)
        init.xavier_uniform_(leaf.weight, fan_out)
        if bias:
            nn.init.zeros_(leaf.bias)
        return leaf

    def expert_linear(self, in_features: int, out_features: int):
        """Makes a linear layer that has experts in a supernet."""
        return self.linear(in_features, out_features)

    def layer_norm(self, width: int):
        """Makes a layer norm."""
        return nn.LayerNorm(width)

    def embedding(self, num_embeddings: int, embedding_dim: int, padding_idx: int):
        """Makes an embedding table."""
        leaf = nn.Embedding(num_embeddings, embedding_dim, padding_idx)
        init.embedding_(leaf.weight, padding_idx)
        return leaf

    def routing(self, embed_dim: int, ffn_dim: int) -> Routing | None:
        """Makes the routing of one feed-forward block."""
        return None


class ElasticLeaves(DenseLeaves):
    """Makes elastic modules of super size, feed-forward weights with experts, and their routing.

    Args:
        routing: a name of :data:`fairseq_mos.modules.routing.ROUTINGS`.
        num_experts: m; ignored by `shared` routing.
        encoding_dim: length of the architecture encoding.
        router_hidden_dim: hidden width of the routers.
        router_dropout: dropout of the routers.
        expert_init: a name of :data:`fairseq_mos.modules.init.EXPERT_INITS`.
    """

    def __init__(
        self,
        routing: str,
        num_experts: int,
        encoding_dim: int,
        router_hidden_dim: int = 128,
        router_dropout: float = 0.1,
        expert_init: str = "centered",
    ):
        if routing not in ROUTINGS:
            raise UserError(f"--routing {routing!r} is unknown; allowed: {', '.join(ROUTINGS)}")
        self.routing_class = ROUTINGS[routing] if num_experts > 1 else None
        self.num_experts = num_experts if self.routing_class else 1
        self.router = (encoding_dim, router_hidden_dim, router_dropout)
        self.expert_init = expert_init
        self._first_routing: Routing | None = None

    def linear(self, in_features: int, out_features: int, bias: bool = True, fan_out: int | None = None):
        return ElasticLinear(in_features, out_features, bias, fan_out=fan_out)

    def expert_linear(self, in_features: int, out_features: int):
        return ElasticLinear(
            in_features, out_features, num_experts=self.num_experts, expert_init=self.expert_init
        )

    def layer_norm(self, width: int):
        return ElasticLayerNorm(width)

    def embedding(self, num_embeddings: int, embedding_dim: int, padding_idx: int):
        return ElasticEmbedding(num_embeddings, embedding_dim, padding_idx)

    def routing(self, embed_dim: int, ffn_dim: int) -> Routing | None:
        if self.routing_class is None:
            return None
        extra = {"shared": self._first_routing} if self.routing_class is GlobalRouting else {}
        routing = self.routing_class(self.num_experts, embed_dim, ffn_dim, *self.router, **extra)
        self._first_routing = self._first_routing or routing
        return routing
