"""Elastic leaves: parameters of super size that expose their active prefix, with m experts or without.

Slicing is always a prefix: `W[:out, :in]`, `b[:out]` (HAT, section 3.1). Under grad the slice or mix is
computed inside each forward; in eval mode without grad it is materialised once per activation, as the very
contiguous tensors that extraction writes, and reused (at every decoding step, for example).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.modules import in_place, init
from fairseq_mos.modules.experts import factors_of, mix_experts, scale_and_shift
from fairseq_mos.modules.kept import Elastic

if TYPE_CHECKING:
    from fairseq_mos.arch.space import Gene
    from fairseq_mos.modules.routing import Effect, Routing


class Routed(Elastic):
    """A leaf on which a routing acts, if it has a place.

    Attributes:
        num_experts: m; with m = 1 its parameters have no expert dimension.
        place: its layer's routing and its name there; in a tuple, so that the routing is no submodule here.
        gate: the gene that chooses the expert, with hard gates.
    """

    num_experts = 1
    place: tuple[Routing, str] | None = None
    gate: Gene | None = None

    def effect(self) -> Effect:
        """Returns what the active architecture does to a leaf that has a :attr:`place`."""
        routing, name = self.place
        return routing.effect(name, self.rows, self.num_experts)

    def signature(self) -> Hashable:
        return self.extent(), () if self.place is None else self.place[0].reads(self.place[1], self.num_experts)

    def extent(self) -> Hashable:
        """Returns the active size."""
        return self.rows

    @property
    def rows(self) -> int:
        """Active output width."""
        raise TypeError(f"{type(self).__name__} does not define rows")

    def active(self) -> tuple[Tensor, Tensor | None]:
        """Returns the active weight, (rows, columns) or (rows), and bias (rows)."""
        remembered = self.remembered()
        if remembered is not None:
            return remembered
        if self.place is None:
            return self.materialised(self._compute)
        effect = self.effect()
        return self.materialised(lambda: self._compute(*effect), *effect)

    def _compute(self, mix: Tensor | int | None = None, modulation: Tensor | None = None):
        raise TypeError(f"{type(self).__name__} does not define _compute()")

    def dense(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and value of each tensor of the equal dense leaf."""
        weight, bias = self.active()
        yield "weight", weight
        if bias is not None:
            yield "bias", bias


class ElasticLinear(Routed):
    """A linear layer of which the first `in_features` columns and `out_features` rows are active.

    Args:
        in_features: super input width.
        out_features: super output width.
        bias: whether there is a bias.
        num_experts: m; with m = 1 the weight has no expert dimension.
        expert_init: a name of :data:`fairseq_mos.modules.init.EXPERT_INITS`, for m > 1.
        draw: fills a weight (out, in) in place.

    Shapes: weight (out, in) or (m, out, in); bias (out) or (m, out).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        num_experts: int = 1,
        expert_init: str = "centered",
        draw: init.Draw = init.xavier_uniform_,
    ):
        super().__init__()
        self.super_size = (out_features, in_features)
        self.size = self.super_size
        experts = () if num_experts == 1 else (num_experts,)
        self.num_experts = num_experts
        self.weight = nn.Parameter(torch.empty(*experts, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(*experts, out_features)) if bias else None
        if experts:
            init.experts_(self.weight, expert_init, draw)
        else:
            draw(self.weight)

    @property
    def experts(self) -> Tensor:
        """What tells the experts apart, with m > 1: (m, ...)."""
        return self.weight

    def activate(self, in_features: int, out_features: int) -> None:
        """Sets the active size; at the same size, what is kept stays."""
        size = (out_features, in_features)
        if size != self.size:
            self.size = size
            self.drop_kept()

    @property
    def rows(self) -> int:
        return self.size[0]

    def extent(self) -> Hashable:
        return self.size

    def _compute(self, mix=None, modulation=None) -> tuple[Tensor, Tensor | None]:
        rows, columns = self.size
        scale, shift = scale_and_shift(modulation)
        weight, bias = self.weight, self.bias
        if isinstance(mix, int):
            weight, bias, mix = weight[mix], None if bias is None else bias[mix], None
        factors = factors_of(mix, scale)
        if factors is not None:
            weight = mix_experts(weight if mix is not None else weight.unsqueeze(0), factors, rows, columns)
        elif self.size != self.super_size:
            weight = weight[:rows, :columns]
            if not torch.is_grad_enabled():
                weight = weight.contiguous()
        return weight, self._bias(bias, mix, shift)

    def _bias(self, bias: Tensor | None, mix: Tensor | None, shift: Tensor | None) -> Tensor | None:
        rows = self.rows
        if bias is None:
            return None
        if mix is not None:
            bias = mix_experts(bias.unsqueeze(-1), mix, rows, 1).squeeze(-1)
        elif self.size != self.super_size:
            bias = bias[:rows]
        return bias if shift is None else bias + shift

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (..., active in) to (..., active out)."""
        if in_place.wanted(self.weight):
            return self._in_place(x, *(self.effect() if self.place else ()))
        weight, bias = self.active()
        return F.linear(x, weight, bias)

    def _in_place(self, x: Tensor, mix=None, modulation=None) -> Tensor:
        expert, mix = (mix, None) if isinstance(mix, int) else (None, mix)
        return in_place.linear(x, self.weight, self.bias, self.size, mix, modulation, expert)

    def extra_repr(self) -> str:
        return f"size={self.size}, super_size={self.super_size}, num_experts={self.num_experts}"


class ElasticLayerNorm(Routed):
    """Layer norm over the active width: statistics and affine parameters of the first `width` channels."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps
        self.width = width

    def activate(self, width: int) -> None:
        """Sets the active width; at the same width, what is kept stays."""
        if width != self.width:
            self.width = width
            self.drop_kept()

    @property
    def rows(self) -> int:
        return self.width

    def _compute(self, mix=None, modulation=None) -> tuple[Tensor, Tensor]:
        weight, bias = self.weight[: self.width], self.bias[: self.width]
        scale, shift = scale_and_shift(modulation)
        return (weight, bias) if scale is None else (weight * scale, bias + shift)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises x (..., width)."""
        weight, bias = self.active()
        return F.layer_norm(x, (self.width,), weight, bias, self.eps)


class ElasticEmbedding(Elastic):
    """An embedding table (vocabulary, super width) of which the first `width` columns are active."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int, std: float | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        init.embedding_(self.weight, padding_idx, std)
        self.padding_idx = padding_idx
        self.width = embedding_dim

    def activate(self, width: int) -> None:
        """Sets the active width; at the same width, what is kept stays."""
        if width != self.width:
            self.width = width
            self.drop_kept()

    def signature(self) -> Hashable:
        return self.width

    def active(self) -> Tensor:
        """Returns the active table (vocabulary, width)."""
        return self.materialised(self._compute)

    def _compute(self) -> Tensor:
        if self.width == self.weight.shape[1]:
            return self.weight
        table = self.weight[:, : self.width]
        return table if torch.is_grad_enabled() else table.contiguous()

    def forward(self, tokens: Tensor) -> Tensor:
        """Looks tokens (...) up: (..., width)."""
        if in_place.wanted(self.weight):
            return in_place.embedding(tokens, self.weight, self.padding_idx, self.width)
        if torch.is_grad_enabled():
            # Cutting the looked-up rows, not the table: its gradient would be padded to super width per use.
            return F.embedding(tokens, self.weight, self.padding_idx)[..., : self.width]
        return F.embedding(tokens, self.active(), self.padding_idx)

    def scores(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Scores x (..., width) with the active table, and a bias (vocabulary): (..., vocabulary)."""
        width = x.shape[-1]
        if in_place.wanted(self.weight):
            return in_place.linear(x, self.weight, bias, (self.weight.shape[0], width))
        return F.linear(x, self.active()[:, :width], bias)

    def dense(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and value of each tensor of the equal `nn.Embedding`."""
        yield "weight", self.active()
