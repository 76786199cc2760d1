"""What encoder and decoder have in common: embeddings, a stack of layers, norms at both ends."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fairseq_mos.modules.block import Block
from fairseq_mos.modules.dropout import Dropout
from fairseq_mos.modules.feed_forward import LayerOptions
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.positions import SinusoidalPositions
from fairseq_mos.modules.recall import ATTEND, LAYER, Step


@dataclass(frozen=True)
class StackOptions(LayerOptions):
    """Options of a stack and its layers.

    Attributes:
        max_positions: longest input that is accepted, in tokens.
        positions: add sinusoidal positions.
        normalize_embedding: layer norm on the embeddings.
        checkpoint_activations: recompute each layer in the backward pass to save memory.
    """

    max_positions: int = 1024
    positions: bool = True
    normalize_embedding: bool = False
    checkpoint_activations: bool = False


class Stack(Block):
    """Mixed into fairseq's encoders and decoders, whose constructor has run."""

    def build(
        self,
        embed_tokens: nn.Module,
        embed_dim: int,
        layers: Iterator[nn.Module],
        leaves: DenseLeaves,
        options: StackOptions,
    ) -> None:
        """Makes the parts.

        Args:
            embed_tokens: embedding table, at least as wide as the stack; the first columns are used.
            embed_dim: width of the stream.
            layers: the layers, made in order.
            leaves: makes the leaves, see :meth:`DenseLeaves.stack`.
            options: see :class:`StackOptions`.
        """
        self.routing = leaves.routing
        self.padding_idx = self.dictionary.pad()
        self.embed_tokens = embed_tokens
        self.embed_positions = SinusoidalPositions(self.padding_idx) if options.positions else None
        self.layernorm_embedding = leaves.layer_norm(embed_dim) if options.normalize_embedding else None
        self.layers = nn.ModuleList(layers)
        self.layer_norm = leaves.layer_norm(embed_dim) if options.normalize_before else None
        leaves.route(layernorm_embedding=self.layernorm_embedding, layer_norm=self.layer_norm)
        self.dropout_module = Dropout(options.dropout, module_name=f"Transformer{type(self).__name__}")
        self.checkpoint_activations = options.checkpoint_activations
        self.embed_dim = embed_dim
        self.active_layers = len(self.layers)

    def resize(self, embed_dim: int, layers: int) -> None:
        """Sets the active width of what lies around the layers, and their number."""
        self.embed_dim, self.active_layers = embed_dim, layers
        self.embed_tokens.activate(embed_dim)
        for norm in (self.layernorm_embedding, self.layer_norm):
            if norm is not None:
                norm.activate(embed_dim)

    def parts(self) -> Iterator[tuple[str, Any]]:
        for name, part in self.named_children():
            if part is self.layers:
                yield from ((f"layers.{index}", layer) for index, layer in enumerate(self.active))
            else:
                yield name, part

    @property
    def active(self) -> nn.ModuleList:
        """The active layers."""
        # A slice is a new list of modules, which costs as much as some of them do in decoding.
        return self.layers if self.active_layers == len(self.layers) else self.layers[: self.active_layers]

    def set_dropout(self, probability: float) -> None:
        """Sets the dropout of every sublayer's output and of the embeddings."""
        if self.dropout_module.p != probability:
            for part in (self, *self.layers):
                part.dropout_module.p = probability

    def through(self, x_TBC: Tensor, is_pad_BS: Tensor) -> list[Tensor]:
        """Sends a whole input through the layers.

        Args:
            x_TBC: (length, batch, embed).
            is_pad_BS: (batch, length), where nothing is attended to.

        Returns:
            The input and every active layer's output.
        """
        mask = ~is_pad_BS[:, None, None, :] if bool(is_pad_BS.any()) else None
        states = [x_TBC]
        for layer in self.active:
            states.append(self.run(layer, states[-1], mask))
        return states

    def steps(self, memory: Hashable = ()) -> Iterator[Step]:
        """Yields what can be kept of a pass for other architectures, see :class:`fairseq_mos.modules.recall.Recall`.

        Args:
            memory: what the layers attend to besides the stream depends on.
        """
        norm = None if self.layernorm_embedding is None else self.layernorm_embedding.signature()
        so_far: Hashable = (type(self).__name__, self.embed_dim, norm)
        for index, layer in enumerate(self.active):
            if index == 0:
                yield layer, ATTEND, (so_far, ATTEND, layer.attend_signature())
                so_far = (so_far, memory)
            so_far = (so_far, layer.signature())
            yield layer, LAYER, so_far

    def run(self, layer: nn.Module, *arguments):
        """Calls a layer; to save memory, its activations are computed anew in the backward pass."""
        if self.checkpoint_activations and self.training:
            return checkpoint(layer, *arguments, use_reentrant=False)
        if isinstance(layer, Block) and layer.recall is not None:
            # A layer that also returns its attention takes another route there.
            how = (argument for argument in arguments if isinstance(argument, bool))
            return layer.recall(layer, LAYER, lambda: layer(*arguments), *how)
        return layer(*arguments)

    def embed(self, tokens: Tensor, newest_only: bool = False, embeddings: Tensor | None = None):
        """Looks tokens (batch, length) up, and adds positions.

        Args:
            tokens: token numbers.
            newest_only: only the last one of each sentence, as in incremental decoding.
            embeddings: (batch, length, embed) instead of looking the tokens up.

        Returns:
            What the first layer reads, and the scaled embeddings alone.
        """
        if embeddings is None:
            embeddings = self.embed_tokens(tokens[:, -1:] if newest_only else tokens)[..., : self.embed_dim]
        x = scaled = math.sqrt(self.embed_dim) * embeddings
        if self.embed_positions is not None:
            x = scaled + self.embed_positions(tokens, self.embed_dim, scaled, newest_only)
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x), scaled
