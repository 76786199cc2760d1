"""Encoder and decoder layers, written once for elastic and dense leaves."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from fairseq_mos.modules.attention import Attention, State
from fairseq_mos.modules.block import Block, adopt
from fairseq_mos.modules.dropout import Dropout
from fairseq_mos.modules.feed_forward import FeedForward, LayerOptions
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.recall import ATTEND


class _Layer(Block, nn.Module):
    """Self-attention, the feed-forward block and residual connections, common to both kinds of layers."""

    def __init__(
        self, leaves: DenseLeaves, embed_dim: int, qkv_dim: int, ffn_dim: int, heads: int, options: LayerOptions
    ):
        super().__init__()
        # The names of fairseq's own layers, which --retain-dropout-modules knows.
        name = f"Transformer{type(self).__name__}"
        self.ffn = FeedForward(leaves, embed_dim, ffn_dim, options, name)
        adopt(self, "ffn")
        self.routing = leaves.routing
        self.final_layer_norm = leaves.layer_norm(embed_dim)
        self.dropout_module = Dropout(options.dropout, module_name=name)
        self.normalize_before = options.normalize_before
        self.self_attn = Attention(leaves, embed_dim, embed_dim, qkv_dim, heads, options.attention_dropout)
        self.self_attn_layer_norm = leaves.layer_norm(embed_dim)
        leaves.route(final_layer_norm=self.final_layer_norm, self_attn_layer_norm=self.self_attn_layer_norm)

    def activate(self, embed_dim: int, qkv_dim: int, ffn_dim: int, heads: int) -> None:
        """Sets the active sizes."""
        self.ffn.activate(embed_dim, ffn_dim)
        self.final_layer_norm.activate(embed_dim)
        self.self_attn.activate(embed_dim, embed_dim, qkv_dim, heads)
        self.self_attn_layer_norm.activate(embed_dim)

    def begin(self) -> None:
        """Begins a pass through the layer."""
        if self.routing is not None:
            self.routing.begin()

    def attend(self, x_TBC: Tensor, *arguments) -> Tensor:
        """The self-attention sublayer; for the arguments see :meth:`Attention.forward`."""

        def compute() -> Tensor:
            x, _ = self.self_attn(x := self.before(self.self_attn_layer_norm, x_TBC), x, *arguments)
            return self.after(self.self_attn_layer_norm, x, x_TBC)

        return compute() if self.recall is None else self.recall(self, ATTEND, compute)

    def attend_signature(self) -> Hashable:
        """Returns what :meth:`attend` depends on besides its arguments, see :meth:`Block.signature`."""
        return self.self_attn.signature(), self.self_attn_layer_norm.signature()

    def before(self, norm: nn.Module, x: Tensor) -> Tensor:
        """What a sublayer reads: normalised in pre-norm."""
        return norm(x) if self.normalize_before else x

    def after(self, norm: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
        """Adds a sublayer's output to its input: normalised in post-norm."""
        x = residual + self.dropout_module(x)
        return x if self.normalize_before else norm(x)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward sublayer."""
        return self.after(self.final_layer_norm, self.ffn(self.before(self.final_layer_norm, x)), x)


class EncoderLayer(_Layer):
    """Self-attention and a feed-forward block.

    Args:
        leaves: makes the leaves.
        embed_dim: width of the stream.
        qkv_dim: total width of queries, keys and values.
        ffn_dim: width of the feed-forward block.
        heads: heads of the self-attention.
        options: see :class:`LayerOptions`.
    """

    def forward(self, x_TBC: Tensor, mask: Tensor | None) -> Tensor:
        """Maps (source length, batch, embed); `mask` (batch, 1, 1, source length) is True at real tokens."""
        self.begin()
        return self.feed_forward(self.attend(x_TBC, mask))


class DecoderLayer(_Layer):
    """Self-attention, attention to the last `memory_states` encoder layers, and a feed-forward block.

    Args:
        leaves: makes the leaves.
        embed_dim: width of the stream.
        memory_dim: width of the encoder's stream.
        qkv_dim: total width of queries, keys and values.
        ffn_dim: width of the feed-forward block.
        self_heads: heads of the self-attention.
        cross_heads: heads of the encoder-decoder attention.
        memory_states: of how many last encoder layers the outputs are attended, concatenated along time
            (HAT, section 3.1, "arbitrary encoder-decoder attention").
        options: see :class:`LayerOptions`.
    """

    def __init__(
        self,
        leaves: DenseLeaves,
        embed_dim: int,
        memory_dim: int,
        qkv_dim: int,
        ffn_dim: int,
        self_heads: int,
        cross_heads: int,
        memory_states: int,
        options: LayerOptions,
    ):
        super().__init__(leaves, embed_dim, qkv_dim, ffn_dim, self_heads, options)
        self.encoder_attn = Attention(
            leaves, embed_dim, memory_dim, qkv_dim, cross_heads, options.attention_dropout, True, "encoder_attn"
        )
        self.encoder_attn_layer_norm = leaves.layer_norm(embed_dim)
        leaves.route(encoder_attn_layer_norm=self.encoder_attn_layer_norm)
        self.memory_dim = memory_dim
        self.memory_states = memory_states

    def activate(  # type: ignore[override]
        self,
        embed_dim: int,
        qkv_dim: int,
        ffn_dim: int,
        self_heads: int,
        memory_dim: int,
        cross_heads: int,
        memory_states: int,
    ) -> None:
        """Sets the active sizes."""
        super().activate(embed_dim, qkv_dim, ffn_dim, self_heads)
        self.encoder_attn.activate(embed_dim, memory_dim, qkv_dim, cross_heads)
        self.encoder_attn_layer_norm.activate(embed_dim)
        self.memory_dim = memory_dim
        self.memory_states = memory_states

    def signature(self) -> Hashable:
        return self.memory_dim, self.memory_states, super().signature()

    def forward(
        self,
        x_TBC: Tensor,
        memory_SBN: Tensor | None,
        memory_mask: Tensor | None,
        self_mask: Tensor | None,
        causal: bool,
        incremental_state: State | None = None,
        need_attn: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Maps (target length, batch, embed).

        Args:
            x_TBC: the stream.
            memory_SBN: outputs of the last encoder layers side by side in the channels, the last one first:
                (source length, batch, n * memory width) with n at least `memory_states`.
            memory_mask: (batch, 1, 1, source length), True at real tokens, or to be added to the scores, or None.
            self_mask: mask of the self-attention, or None.
            causal: whether the self-attention is causal.
            incremental_state: fairseq's decoding cache.
            need_attn: also return the attention to the source (batch, heads, T, source length).
        """
        self.begin()
        x_TBC = self.attend(x_TBC, self_mask, causal, incremental_state)

        attn = None
        if memory_SBN is not None:
            residual = x_TBC
            x_TBC = self.before(self.encoder_attn_layer_norm, x_TBC)
            cached = self.encoder_attn.has_memory(incremental_state)
            x_TBC, attn = self.encoder_attn(
                x_TBC,
                None if cached else self.along_time(memory_SBN),
                self._for_all_states(memory_mask),
                incremental_state=incremental_state,
                need_weights=need_attn,
            )
            x_TBC = self.after(self.encoder_attn_layer_norm, x_TBC, residual)
            if attn is not None:
                # A source token's weight is the sum over its states.
                attn = attn.unflatten(-1, (self.memory_states, -1)).sum(-2)

        return self.feed_forward(x_TBC), attn

    def _for_all_states(self, mask: Tensor | None) -> Tensor | None:
        """Repeats a mask of source tokens for each of the memory's states."""
        return mask if mask is None or self.memory_states == 1 else mask.repeat(1, 1, 1, self.memory_states)

    def along_time(self, memory_SBN: Tensor) -> Tensor:
        """Returns what the layer attends to: the states side by side one after the other, (n * S, batch, memory)."""
        if memory_SBN.shape[-1] == self.memory_dim:
            return memory_SBN
        states = memory_SBN.split(self.memory_dim, dim=-1)[: self.memory_states]
        return torch.cat(states, dim=0)
