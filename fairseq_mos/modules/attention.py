"""Multi-head attention whose q/k/v width is independent of the embed width."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from fairseq.incremental_decoding_utils import with_incremental_state
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.modules.block import Block
from fairseq_mos.modules.dropout import Dropout
from fairseq_mos.modules.elastic import ElasticLinear
from fairseq_mos.modules.growing import appended, picked
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
        self.dropout_module = Dropout(dropout, module_name="MultiheadAttention")
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
            mask: boolean, True where attention is allowed, or to be added to the scores, broadcastable to
                (batch, heads, T, S).
            causal: position t attends to positions up to t; exclusive with `mask`.
            incremental_state: fairseq's decoding cache; the queries are then the newest positions. It may hold (and
                `mask` have) one row for each group of consecutive queries: these then are further positions of one.
            need_weights: also return the attention weights.

        Returns:
            The output (T, batch, embed) and, if asked for, the weights (batch, heads, T, S).
        """
        q, k, v = self._projected(query_TBC, memory_SBC, mask, incremental_state)
        batch = query_TBC.shape[1]
        weights = None
        if need_weights:
            weights = self._weights(q, k, mask, causal)
            out = torch.matmul(self.dropout_module(weights), v)
        else:
            drops = self.training or self.dropout_module.apply_during_inference
            dropout = self.dropout_module.p if drops else 0.0
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
        out_TBC = self._rows(out, batch).permute(2, 0, 1, 3).flatten(2)
        weights = None if weights is None else self._rows(weights, batch)
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

    def _heads(self, x_TBC: Tensor, sentences: int | None = None) -> Tensor:
        """Splits (T, B, qkv) into heads: (B, H, T, qkv / H).

        Of fewer sentences than rows, the rows of one become further positions: (sentences, H, B / sentences * T,
        qkv / H).
        """
        length, batch, width = x_TBC.shape
        if sentences is None or sentences == batch:
            return x_TBC.view(length, batch, self.num_heads, width // self.num_heads).permute(1, 2, 0, 3)
        x = x_TBC.view(length, sentences, batch // sentences, self.num_heads, width // self.num_heads)
        return x.permute(1, 3, 2, 0, 4).flatten(2, 3)

    @staticmethod
    def _rows(x: Tensor, batch: int) -> Tensor:
        """Undoes what :meth:`_heads` did for sentences, in what came out: (sentences, H, ..., N) to (B, H, T, N)."""
        sentences, heads, positions, width = x.shape
        if sentences == batch:
            return x
        group = batch // sentences
        return x.view(sentences, heads, group, positions // group, width).transpose(1, 2).flatten(0, 1)

    def _projected(self, query_TBC: Tensor, memory_SBC: Tensor | None, mask: Tensor | None, state: State | None):
        """Returns queries, and the keys and values that they attend to, which the cache then has."""
        if state is None:
            return (self._heads(self.q_proj(query_TBC)), *self.keys_and_values(memory_SBC))
        cache = self.get_incremental_state(state, "attn_state")
        if self.static_memory:
            if cache is None or "prev_key" not in cache:
                k, v = self.keys_and_values(memory_SBC)
                cache = {"prev_key": k, "prev_value": v}
                self.set_incremental_state(state, "attn_state", cache)
            k, v = cache["prev_key"], cache["prev_value"]
            return self._heads(self.q_proj(query_TBC), k.shape[0]), k, v
        sentences = None if mask is None else mask.shape[0]
        # Where keys and values of earlier steps were put into the cache, as in a program, so will these be.
        grows = cache is None or "buffer" in cache
        q, k, v = (self._heads(x, sentences) for x in self._three(query_TBC, state if grows else None))
        cache = appended(cache, k, v)
        self.set_incremental_state(state, "attn_state", cache)
        return q, cache["prev_key"], cache["prev_value"]

    def _three(self, x_TBC: Tensor, state: State | None) -> tuple[Tensor, ...]:
        """Projects an input to queries, keys and values, (T, B, qkv) each: in one product, given a state to keep it."""
        leaves = (self.q_proj, self.k_proj, self.v_proj)
        # Another kind of leaf, such as a quantised one, multiplies in its own way.
        known = all(type(leaf) in (nn.Linear, ElasticLinear) for leaf in leaves)
        if state is None or torch.is_grad_enabled() or not known:
            return tuple(leaf(x_TBC) for leaf in leaves)
        stacked = self.get_incremental_state(state, "projection")
        if stacked is None:
            # Anew for each decoding, so that it cannot become stale.
            own = [leaf.active() if isinstance(leaf, ElasticLinear) else (leaf.weight, leaf.bias) for leaf in leaves]
            stacked = {"weight": torch.cat([weight for weight, _ in own]), "bias": torch.cat([bias for _, bias in own])}
            self.set_incremental_state(state, "projection", stacked)
        return F.linear(x_TBC, stacked["weight"], stacked["bias"]).chunk(3, dim=2)

    @staticmethod
    def _weights(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
        if causal:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        return torch.softmax(scores.float(), dim=-1).to(q.dtype)

    def separate(self, incremental_state: State, read_BTG: Tensor, rows: Tensor) -> None:
        """Gives each row keys and values of its own.

        Args:
            incremental_state: fairseq's decoding cache, with what all rows of a sentence wrote.
            read_BTG: (batch, steps, rows of a sentence), zero at the one that a row reads.
            rows: the sentence of each row (batch).
        """
        cache = self.get_incremental_state(incremental_state, "attn_state")
        if cache is not None:
            steps, group = read_BTG.shape[1:]
            places = read_BTG.argmax(dim=2) + group * torch.arange(steps, device=rows.device)
            own = {
                name: cache[name].transpose(1, 2)[rows.unsqueeze(1), places].transpose(1, 2)
                for name in ("prev_key", "prev_value")
            }
            self.set_incremental_state(incremental_state, "attn_state", own)

    def reorder(self, incremental_state: State, new_order: Tensor) -> None:
        """Picks rows of the cache in `new_order`."""
        cache = self.get_incremental_state(incremental_state, "attn_state")
        if cache is not None:
            self.set_incremental_state(incremental_state, "attn_state", picked(cache, new_order))
