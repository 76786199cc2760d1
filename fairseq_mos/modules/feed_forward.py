"""The feed-forward block of a layer: a module of its own, so that another kind can stand in its place."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq import utils
from torch import Tensor

from fairseq_mos.modules.block import Inline
from fairseq_mos.modules.dropout import Dropout
from fairseq_mos.modules.leaves import DenseLeaves


@dataclass(frozen=True)
class LayerOptions:
    """What all layers of a stack have in common.

    Attributes:
        dropout: on the output of every sublayer.
        attention_dropout: on the attention weights.
        activation_dropout: after the activation of the feed-forward block.
        activation_fn: fairseq's name of the activation.
        normalize_before: pre-norm instead of post-norm.
    """

    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation_fn: str = "relu"
    normalize_before: bool = False


class FeedForward(Inline):
    """Linear, activation, linear.

    Args:
        leaves: makes the leaves.
        embed_dim: width of the stream.
        ffn_dim: width between the linear layers.
        options: see :class:`LayerOptions`.
        name: of the layer's class in fairseq, which --retain-dropout-modules knows.
    """

    def __init__(self, leaves: DenseLeaves, embed_dim: int, ffn_dim: int, options: LayerOptions, name: str):
        super().__init__()
        self.fc1 = leaves.linear(embed_dim, ffn_dim, part="ffn")
        self.fc2 = leaves.linear(ffn_dim, embed_dim, part="ffn")
        leaves.route(fc1=self.fc1, fc2=self.fc2)
        self.activation_fn = utils.get_activation_fn(options.activation_fn)
        self.activation_dropout_module = Dropout(options.activation_dropout, module_name=name)

    def activate(self, embed_dim: int, ffn_dim: int) -> None:
        """Sets the active widths."""
        self.fc1.activate(embed_dim, ffn_dim)
        self.fc2.activate(ffn_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (..., embed) to the same shape."""
        return self.fc2(self.activation_dropout_module(self.activation_fn(self.fc1(x))))
