"""The encoder: a stack of layers over token embeddings, elastic or dense."""

from __future__ import annotations

import torch
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from fairseq_mos.arch import Sizes
from fairseq_mos.modules.layers import EncoderLayer
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.memory import Reordered
from fairseq_mos.modules.stack import Stack, StackOptions


class Encoder(Stack, FairseqEncoder):
    """Encodes source tokens.

    Args:
        dictionary: source dictionary.
        embed_tokens: embedding table, at least as wide as the encoder; the first columns are used.
        sizes: of the encoder (of the largest architecture, with elastic leaves).
        memory_states: of how many last layers the outputs are returned.
        leaves: makes the leaves.
        options: see :class:`StackOptions`.
    """

    def __init__(
        self,
        dictionary,
        embed_tokens: nn.Module,
        sizes: Sizes,
        memory_states: int,
        leaves: DenseLeaves,
        options: StackOptions,
    ):
        FairseqEncoder.__init__(self, dictionary)
        leaves = leaves.stack("encoder")
        layers = (
            EncoderLayer(leaves.layer(), sizes.embed_dim, sizes.qkv_dim, ffn_dim, heads, options)
            for ffn_dim, heads in zip(sizes.ffn_dims, sizes.self_attention_heads)
        )
        self.build(embed_tokens, sizes.embed_dim, layers, leaves, options)
        self.max_source_positions = options.max_positions
        self.memory_states = memory_states

    def activate(self, sizes: Sizes, memory_states: int) -> None:
        """Sets the active sizes."""
        self.resize(sizes.embed_dim, sizes.layers)
        self.memory_states = memory_states
        for layer, ffn_dim, heads in zip(self.layers, sizes.ffn_dims, sizes.self_attention_heads):
            layer.activate(sizes.embed_dim, sizes.qkv_dim, ffn_dim, heads)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """Encodes src_tokens (batch, source length).

        Args:
            src_tokens: token numbers, padded on either side.
            src_lengths: not needed; part of fairseq's interface.
            return_all_hiddens: also return the embeddings' and every layer's output as `encoder_states`.
            token_embeddings: (batch, source length, embed) instead of looking the tokens up.

        Returns:
            fairseq's dictionary. `encoder_out[0]` holds the outputs of the last layers that the decoder
            attends to, side by side in the channels, the last layer first:
            (source length, batch, memory states * embed). So whatever reorders it keeps them together.
        """
        is_pad_BS = src_tokens.eq(self.padding_idx)
        padded = bool(is_pad_BS.any())
        x, embedding = self.embed(src_tokens, embeddings=token_embeddings)
        if padded:
            x = x.masked_fill(is_pad_BS.unsqueeze(-1), 0)
        states = self.through(x.transpose(0, 1), is_pad_BS)
        memory = states[: -self.memory_states - 1 : -1]
        if self.layer_norm is not None:
            memory = [self.layer_norm(state) for state in memory]
        return {
            "encoder_out": [memory[0] if len(memory) == 1 else torch.cat(memory, dim=-1)],
            "encoder_padding_mask": [is_pad_BS] if padded else [],
            "encoder_embedding": [embedding],
            "encoder_states": states if return_all_hiddens else [],
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [(~is_pad_BS).sum(dim=1, dtype=torch.int32).reshape(-1, 1)],
        }

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor):
        """Picks sentences of the output of :meth:`forward` in `new_order`: each tensor when it is read."""
        if isinstance(encoder_out, Reordered):
            return encoder_out.reordered(new_order)
        return Reordered(encoder_out, new_order)

    def max_positions(self) -> int:
        """Longest source that is accepted, in tokens."""
        return self.max_source_positions
