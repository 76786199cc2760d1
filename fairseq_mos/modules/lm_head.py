"""The head of a masked language model."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from fairseq import utils
from torch import Tensor, nn

from fairseq_mos.modules.block import Block
from fairseq_mos.modules.leaves import DenseLeaves


class LMHead(Block, nn.Module):
    """The head of fairseq's `roberta`: linear, activation, norm, the embeddings' table, a bias for each entry.

    The table is the embedding's own and is handed in, so that it has one name in files.

    Args:
        leaves: makes the leaves.
        embed_dim: width of the features.
        entries: of the dictionary.
        activation: fairseq's name of the activation.
    """

    def __init__(self, leaves: DenseLeaves, embed_dim: int, entries: int, activation: str):
        super().__init__()
        leaves = leaves.stack("lm_head")
        self.dense_layer = leaves.linear(embed_dim, embed_dim)
        self.layer_norm = leaves.layer_norm(embed_dim)
        leaves.route(dense=self.dense_layer, layer_norm=self.layer_norm)
        self.routing = leaves.routing
        self.activation_fn = utils.get_activation_fn(activation)
        self.bias = nn.Parameter(torch.zeros(entries))

    def activate(self, embed_dim: int) -> None:
        """Sets the active width."""
        self.dense_layer.activate(embed_dim, embed_dim)
        self.layer_norm.activate(embed_dim)

    def dense(self) -> Iterator[tuple[str, Tensor]]:
        yield from super().dense()
        yield "bias", self.bias

    def forward(self, features: Tensor, table: nn.Module) -> Tensor:
        """Scores features (..., embed) with an embedding table: (..., entries)."""
        x = self.layer_norm(self.activation_fn(self.dense_layer(features)))
        return table.scores(x, self.bias)
