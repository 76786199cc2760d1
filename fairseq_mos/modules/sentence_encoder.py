"""BERT's encoder: one stack over learned positions, with bottlenecks around the layers where the space has them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from fairseq.models import FairseqEncoder
from fairseq.utils import make_positions
from torch import Tensor

from fairseq_mos.arch.widths import Widths
from fairseq_mos.modules.layers import EncoderLayer
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.stack import Stack, StackOptions


class BottleneckLayer(EncoderLayer):
    """An encoder layer of a width of its own between two linear layers, without a norm or residual around them.

    (SuperShaper: Ganesan et al. 2021, section 3.)

    Args:
        leaves: makes the leaves.
        sizes: of the layer.
        options: see :class:`fairseq_mos.modules.feed_forward.LayerOptions`.
    """

    def __init__(self, leaves: DenseLeaves, sizes: Widths, options: StackOptions):
        super().__init__(leaves, *sizes[1:5], options)
        self.input_bottleneck = leaves.linear(sizes.entry, sizes.width) if sizes.entry else None
        self.output_bottleneck = leaves.linear(sizes.width, sizes.leave) if sizes.leave else None
        leaves.route(input_bottleneck=self.input_bottleneck, output_bottleneck=self.output_bottleneck)

    def resize(self, sizes: Widths) -> None:
        """Sets the active sizes."""
        self.activate(*sizes[1:5])
        if self.input_bottleneck is not None:
            self.input_bottleneck.activate(sizes.entry, sizes.width)
        if self.output_bottleneck is not None:
            self.output_bottleneck.activate(sizes.width, sizes.leave)

    def attend_signature(self) -> Hashable:
        entry = () if self.input_bottleneck is None else self.input_bottleneck.signature()
        return entry, super().attend_signature()

    def forward(self, x_TBC: Tensor, mask: Tensor | None) -> Tensor:
        """Maps (length, batch, entry) to (length, batch, leave); `mask` (batch, 1, 1, length) is True at tokens."""
        if self.input_bottleneck is not None:
            x_TBC = self.input_bottleneck(x_TBC)
        x_TBC = super().forward(x_TBC, mask)
        return x_TBC if self.output_bottleneck is None else self.output_bottleneck(x_TBC)


class SentenceEncoder(Stack, FairseqEncoder):
    """Encodes tokens as fairseq's `roberta` does: learned positions, a norm on the embeddings, no scaling of them.

    Args:
        dictionary: of the tokens.
        embed_dim: width of the embeddings and of the output.
        layers: sizes of each.
        leaves: makes the leaves.
        options: see :class:`StackOptions`; `positions` and `normalize_embedding` are taken as read.
    """

    def __init__(
        self, dictionary, embed_dim: int, layers: Sequence[Widths], leaves: DenseLeaves, options: StackOptions
    ):
        FairseqEncoder.__init__(self, dictionary)
        leaves = leaves.stack("encoder")
        table = leaves.embedding(len(dictionary), embed_dim, dictionary.pad())
        made = (BottleneckLayer(leaves.layer(), sizes, options) for sizes in layers)
        self.build(table, embed_dim, made, leaves, options)
        self.limit = options.max_positions
        # Positions count from the padding's number on.
        self.embed_positions = leaves.embedding(self.limit + self.padding_idx + 1, embed_dim, self.padding_idx)

    def activate(self, embed_dim: int, layers: Sequence[Widths]) -> None:
        """Sets the active sizes."""
        self.resize(embed_dim, len(layers))
        self.embed_positions.activate(embed_dim)
        for layer, sizes in zip(self.layers, layers):
            layer.resize(sizes)

    def set_attention_dropout(self, probability: float) -> None:
        """Sets the dropout of all attention weights."""
        for layer in self.layers:
            layer.self_attn.dropout_module.p = probability

    def embed(self, tokens: Tensor, newest_only: bool = False, embeddings: Tensor | None = None):
        looked_up = self.embed_tokens(tokens) if embeddings is None else embeddings
        x = looked_up + self.embed_positions(make_positions(tokens, self.padding_idx))
        return self.dropout_module(self.layernorm_embedding(x)), looked_up

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """Encodes src_tokens (batch, length): fairseq's dictionary, with `encoder_out[0]` (length, batch, embed).

        Args:
            src_tokens: token numbers, padded.
            src_lengths: not needed; part of fairseq's interface.
            return_all_hiddens: also return the embeddings' and every layer's output as `encoder_states`.
            token_embeddings: (batch, length, embed) instead of looking the tokens up.
        """
        is_pad_BS = src_tokens.eq(self.padding_idx)
        padded = bool(is_pad_BS.any())
        x, embedding = self.embed(src_tokens, embeddings=token_embeddings)
        if padded:
            x = x.masked_fill(is_pad_BS.unsqueeze(-1), 0)
        # Contiguous: of other inputs torch takes another route where a weight is no parameter, and rounds otherwise.
        states = self.through(x.transpose(0, 1).contiguous(), is_pad_BS)
        return {
            "encoder_out": [states[-1] if self.layer_norm is None else self.layer_norm(states[-1])],
            "encoder_padding_mask": [is_pad_BS] if padded else [],
            "encoder_embedding": [embedding],
            "encoder_states": states if return_all_hiddens else [],
        }

    def max_positions(self) -> int:
        """Longest input that is accepted, in tokens."""
        return self.limit


def merged(state: dict[str, Tensor], layers: int, prefix: str) -> dict[str, Tensor]:
    """Returns the state dict in which each output bottleneck is one with the next layer's input bottleneck.

    Nothing stands between the two, so their product is what both compute: `W = W_in W_out`, `b = W_in b_out + b_in`.

    Args:
        state: of a network with bottlenecks around each layer.
        layers: how many it has.
        prefix: of the encoder's names.
    """
    state = dict(state)
    for layer in range(1, layers):
        before, after = (
            [f"{prefix}layers.{index}.{side}_bottleneck.{part}" for part in ("weight", "bias")]
            for index, side in ((layer - 1, "output"), (layer, "input"))
        )
        # In double precision: a rounding for each of the two would be one too many.
        weight, bias = (state.pop(name).double() for name in before)
        own = [state[name] for name in after]
        state[after[0]] = (own[0].double() @ weight).to(own[0])
        state[after[1]] = (own[0].double() @ bias + own[1].double()).to(own[1])
    return state
