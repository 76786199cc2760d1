"""Multi-head attention whose q/k/v width is independent of the embed width."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from fairseq.incremental_decoding_utils import with_incremental_state
from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.modules.block import Block
from fairseq_mos.modules.leaves import DenseLeaves

State = "dict[str, dict[str, Tensor | None]]"


@with_incremental_state
class Attention(Block, nn.Module):
    """Scaled dot-product attention over time-first tensors.

    The head count only reshapes the same q/k/v width: head_dim = qkv_dim / heads, scale = head_dim ** -0.5
    (HAT, section 3.1).

    Args:
        leaves: makes the projections.
        embed_dim: width of the queries' input and of the output.
        memory_dim: width of the keys' and values' input.
        qkv_dim: total width of queries, keys and values.
        num_heads: number of heads; divides `qkv_dim`.
        dropout: dropout on the attention weights.
        static_memory: keys and values come from the encoder, so decoding computes them once.
        name: of this attention in its layer.
    """

    def __init__(
        self,
        leaves: DenseLeaves,
        embed_dim: int,
        memory_dim: int,
        qkv_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        static_memory: bool = False,
        name: str = "self_attn",
    ):
        super().__init__()
        self.q_proj = leaves.linear(embed_dim, qkv_dim, fan_out=3 * qkv_dim, part=name)
        self.k_proj = leaves.linear(memory_dim, qkv_dim, fan_out=3 * qkv_dim, part=name)
        self.v_proj = leaves.linear(memory_dim, qkv_dim, fan_out=3 * qkv_dim, part=name)
        self.out_proj = leaves.linear(qkv_dim, embed_dim, part=name)
        leaves.route(**{f"{name}_{leaf}": module for leaf, module in self.named_children()})
        self.num_heads = num_heads
        self.dropout_module = FairseqDropout(dropout, module_name="MultiheadAttention")
        self.static_memory = static_memory

    def activate(self, embed_dim: int, memory_dim: int, qkv_dim: int, heads: int) -> None:
        """Sets the active widths and the head count."""
        self.q_proj.activate(embed_dim, qkv_dim)
        self.k_proj.activate(memory_dim, qkv_dim)
        self.v_proj.activate(memory_dim, qkv_dim)
        self.out_proj.activate(qkv_dim, embed_dim)
        if heads != self.num_heads:
            self.num_heads = heads

    def signature(self) -> Hashable:
        return self.num_heads, super().signature()

    def forward(
        self,
        query_TBC: Tensor,
        memory_SBC: Tensor | None,
        mask: Tensor | None = None,
        causal: bool = False,
        incremental_state: State | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from the queries to the memory.

        Args:
            query_TBC: (target length, batch, embed).
            memory_SBC: (source length, batch, memory width), the queries' input for self-attention; may be
                None where :meth:`has_memory`.
            mask: boolean, True where attention is allowed, broadcastable to (batch, heads, T, S).
            causal: position t attends to positions up to t; exclusive with `mask`.
            incremental_state: fairseq's decoding cache; the queries are then the newest positions.
            need_weights: also return the attention weights.

        Returns:
            The output (T, batch, embed) and, if asked for, the weights (batch, heads, T, S).
        """
        q = self._heads(self.q_proj(query_TBC))
        k, v = self._keys_and_values(memory_SBC, incremental_state)
        weights = None
        if need_weights:
            weights = self._weights(q, k, mask, causal)
            out = torch.matmul(self.dropout_module(weights), v)
        else:
            drops = self.training or self.dropout_module.apply_during_inference
            dropout = self.dropout_module.p if drops else 0.0
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
        out_TBC = out.permute(2, 0, 1, 3).flatten(2)
        return self.out_proj(out_TBC), weights

    def has_memory(self, incremental_state: State | None) -> bool:
        """Whether keys and values of a static memory are in the cache, so that none need be given."""
        return self.static_memory and self.cached(incremental_state)[0] is not None

    def keys_and_values(self, memory_SBC: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the queries attend to: keys and values, each (batch, heads, S, qkv / heads)."""
        return self._heads(self.k_proj(memory_SBC)), self._heads(self.v_proj(memory_SBC))

    def cached(self, incremental_state: State | None) -> tuple[Tensor | None, Tensor | None]:
        """Returns the keys and values in fairseq's decoding cache, or nothing twice."""
        cache = self.get_incremental_state(incremental_state, "attn_state") or {}
        return cache.get("prev_key"), cache.get("prev_value")

    def cache(self, incremental_state: State, keys: Tensor, values: Tensor) -> None:
        """Puts keys and values into fairseq's decoding cache."""
        self.set_incremental_state(incremental_state, "attn_state", {"prev_key": keys, "prev_value": values})

    def _heads(self, x_TBC: Tensor) -> Tensor:
        """Splits (T, B, qkv) into heads: (B, H, T, qkv / H)."""
        return x_TBC.unflatten(2, (self.num_heads, -1)).permute(1, 2, 0, 3)

    def _keys_and_values(self, memory_SBC: Tensor | None, incremental_state: State | None):
        if incremental_state is None:
            return self.keys_and_values(memory_SBC)
        past_k, past_v = self.cached(incremental_state)
        if self.static_memory and past_k is not None:
            return past_k, past_v
        k, v = self.keys_and_values(memory_SBC)
        if past_k is not None:
            k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
        self.cache(incremental_state, k, v)
        return k, v

    @staticmethod
    def _weights(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
        if causal:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.softmax(scores.float(), dim=-1).to(q.dtype)

    def reorder_incremental_state(self, incremental_state: State, new_order: Tensor) -> State:
        """Follows the beams: rows of the cache are picked in `new_order` (batch)."""
        cache = self.get_incremental_state(incremental_state, "attn_state")
        if cache is not None:
            reordered = {name: value.index_select(0, new_order) for name, value in cache.items()}
            self.set_incremental_state(incremental_state, "attn_state", reordered)
        return incremental_state
