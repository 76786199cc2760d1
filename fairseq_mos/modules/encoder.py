"""The encoder: a stack of layers over token embeddings, elastic or dense."""

from __future__ import annotations

import math

import torch
from fairseq.models import FairseqEncoder
from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fairseq_mos.arch import Architecture, memory_states
from fairseq_mos.modules.layers import EncoderLayer, LayerOptions
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.positions import SinusoidalPositions


class Encoder(FairseqEncoder):
    """Encodes source tokens.

    Args:
        dictionary: source dictionary.
        embed_tokens: embedding table, at least as wide as the encoder; the first columns are used.
        architecture: the sizes (of the largest architecture, with elastic leaves).
        leaves: makes the leaves.
        options: common options of the layers.
        max_positions: longest source that is accepted, in tokens.
        positions: add sinusoidal positions.
        normalize_embedding: layer norm on the embeddings.
        checkpoint_activations: recompute each layer in the backward pass to save memory.
    """

    def __init__(
        self,
        dictionary,
        embed_tokens: nn.Module,
        architecture: Architecture,
        leaves: DenseLeaves,
        options: LayerOptions,
        max_positions: int = 1024,
        positions: bool = True,
        normalize_embedding: bool = False,
        checkpoint_activations: bool = False,
    ):
        super().__init__(dictionary)
        sizes = architecture.encoder
        self.padding_idx = dictionary.pad()
        self.embed_tokens = embed_tokens
        self.embed_positions = SinusoidalPositions(self.padding_idx) if positions else None
        self.layernorm_embedding = leaves.layer_norm(sizes.embed_dim) if normalize_embedding else None
        self.layers = nn.ModuleList(
            EncoderLayer(leaves, sizes.embed_dim, architecture.encoder_qkv_dim(), ffn_dim, heads, options)
            for ffn_dim, heads in zip(sizes.ffn_dims, sizes.self_attention_heads)
        )
        self.layer_norm = leaves.layer_norm(sizes.embed_dim) if options.normalize_before else None
        self.dropout_module = FairseqDropout(options.dropout, module_name="TransformerEncoder")
        self.max_source_positions = max_positions
        self.checkpoint_activations = checkpoint_activations
        self.embed_dim = sizes.embed_dim
        self.active_layers = sizes.layers
        self.memory_states = max_memory_states(architecture)

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
        x, embedding = self._embed(src_tokens, token_embeddings)
        if padded:
            x = x.masked_fill(is_pad_BS.unsqueeze(-1), 0)
        x_SBC = x.transpose(0, 1)
        mask = ~is_pad_BS[:, None, None, :] if padded else None

        layers = self.layers[: self.active_layers]
        states = [x_SBC]
        for layer in layers:
            if self.checkpoint_activations and self.training:
                x_SBC = checkpoint(layer, x_SBC, mask, use_reentrant=False)
            else:
                x_SBC = layer(x_SBC, mask)
            states.append(x_SBC)
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

    def _embed(self, tokens: Tensor, embeddings: Tensor | None) -> tuple[Tensor, Tensor]:
        if embeddings is None:
            embeddings = self.embed_tokens(tokens)[..., : self.embed_dim]
        x = embedding = math.sqrt(self.embed_dim) * embeddings
        if self.embed_positions is not None:
            x = embedding + self.embed_positions(tokens, self.embed_dim, embedding)
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x), embedding

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor):
        """Picks sentences of the output of :meth:`forward` in `new_order`."""
        batch_second = {"encoder_out", "encoder_states"}
        return {
            name: [value.index_select(1 if name in batch_second else 0, new_order) for value in values]
            for name, values in encoder_out.items()
        }

    def max_positions(self) -> int:
        """Longest source that is accepted, in tokens."""
        return self.max_source_positions


def max_memory_states(architecture: Architecture) -> int:
    """Of how many last encoder layers some decoder layer reads the outputs."""
    return max(memory_states(value) for value in architecture.decoder.arbitrary_attention)
