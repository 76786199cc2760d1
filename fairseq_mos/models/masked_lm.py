"""The masked language model as a fairseq model, built from an architecture and a kind of leaves."""

from __future__ import annotations

from collections.abc import Iterator

from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder, FairseqEncoderModel
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.arch import Architecture
from fairseq_mos.families.masked_lm.schema import layers
from fairseq_mos.models.masked_lm_config import MaskedLMNetworkConfig
from fairseq_mos.modules.block import Block
from fairseq_mos.modules.leaves import DenseLeaves, LeafOptions
from fairseq_mos.modules.lm_head import LMHead
from fairseq_mos.modules.recall import Step
from fairseq_mos.modules.sentence_encoder import SentenceEncoder
from fairseq_mos.modules.stack import StackOptions

TABLE = "encoder.sentence_encoder.embed_tokens.weight"
"""Name of the embedding among a model's weights."""

POSITIONS = "encoder.sentence_encoder.embed_positions.weight"
"""Name of the table of positions among a model's weights."""


def leaf_options(cfg: MaskedLMNetworkConfig) -> LeafOptions:
    """Returns what the leaves have in common."""
    return LeafOptions(eps=cfg.layer_norm_eps, bert=True)


class MaskedLMEncoder(Block, FairseqEncoder):
    """Encoder and head, under the names of fairseq's `roberta`.

    Args:
        cfg: options of the model.
        dictionary: of the tokens, with the mask.
        architecture: the sizes; the largest architecture of a space for elastic leaves.
        leaves: makes the leaves.
        merged: neighbouring bottlenecks are one layer.
    """

    def __init__(
        self,
        cfg: MaskedLMNetworkConfig,
        dictionary: Dictionary,
        architecture: Architecture,
        leaves: DenseLeaves,
        merged: bool,
    ):
        FairseqEncoder.__init__(self, dictionary)
        width = architecture.encoder.embed_dim
        options = StackOptions(
            dropout=cfg.dropout,
            attention_dropout=cfg.attention_dropout,
            activation_dropout=cfg.activation_dropout,
            activation_fn=str(cfg.activation_fn),
            normalize_before=cfg.encoder_normalize_before,
            max_positions=cfg.max_positions,
            positions=False,
            normalize_embedding=True,
            checkpoint_activations=cfg.checkpoint_activations,
        )
        self.sentence_encoder = SentenceEncoder(dictionary, width, layers(architecture, merged), leaves, options)
        self.lm_head = LMHead(leaves, width, len(dictionary), str(cfg.activation_fn))

    def activate(self, architecture: Architecture) -> None:
        """Sets the active sizes."""
        width = architecture.encoder.embed_dim
        self.sentence_encoder.activate(width, layers(architecture, merged=False))
        self.lm_head.activate(width)

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        masked_tokens: Tensor | None = None,
        **unused,
    ) -> tuple[Tensor, dict]:
        """Encodes src_tokens (batch, length).

        Args:
            src_tokens: token numbers.
            features_only: return features (batch, length, embed) instead of scores.
            return_all_hiddens: also return every layer's output as `inner_states`, (length, batch, width) each.
            masked_tokens: boolean (batch, length): score these alone.

        Returns:
            Scores (batch, length, vocabulary), or (masked, vocabulary), and a dictionary with `inner_states`.
        """
        x, extra = self.extract_features(src_tokens, return_all_hiddens)
        return (x if features_only else self.output_layer(x, masked_tokens)), extra

    def extract_features(self, src_tokens: Tensor, return_all_hiddens: bool = False, **unused) -> tuple[Tensor, dict]:
        """Returns the encoder's output (batch, length, embed), and a dictionary with `inner_states`."""
        found = self.sentence_encoder(src_tokens, return_all_hiddens=return_all_hiddens)
        states = found["encoder_states"] if return_all_hiddens else None
        return found["encoder_out"][0].transpose(0, 1).contiguous(), {"inner_states": states}

    def output_layer(self, features: Tensor, masked_tokens: Tensor | None = None) -> Tensor:
        """Scores the vocabulary for features (batch, length, embed)."""
        if masked_tokens is not None:
            features = features[masked_tokens, :]
        return self.lm_head(features, self.sentence_encoder.embed_tokens)

    def max_positions(self) -> int:
        """Longest input that is accepted, in tokens."""
        return self.sentence_encoder.max_positions()


class MaskedLMModel(Block, FairseqEncoderModel):
    """What supernets and subnets have in common: fairseq's interface of `roberta`."""

    family = "masked_lm"

    def __init__(self, cfg: MaskedLMNetworkConfig, encoder: MaskedLMEncoder):
        FairseqEncoderModel.__init__(self, encoder)
        self.cfg = cfg
        self.classification_heads = nn.ModuleDict()

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary."""
        return self.encoder.dictionary

    @property
    def supported_targets(self) -> set[str]:
        """fairseq's word for what is predicted: the tokens themselves."""
        return {"self"}

    def steps(self) -> Iterator[Step]:
        """Yields what can be kept of a pass for other architectures; of a supernet. See :meth:`Stack.steps`."""
        return self.encoder.sentence_encoder.steps()

    def resize(self, architecture: Architecture) -> None:
        """Sets the active sizes of elastic blocks; the architecture fits into their super sizes."""
        self.encoder.activate(architecture)

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        classification_head_name: str | None = None,
        **kwargs,
    ) -> tuple[Tensor, dict]:
        """Scores tokens, or classes of sentences; see :meth:`MaskedLMEncoder.forward`.

        Args:
            src_tokens: token numbers (batch, length).
            features_only: return features instead of scores.
            return_all_hiddens: also return every layer's output.
            classification_head_name: the head whose scores (batch, classes) are returned.
            kwargs: further ones of the encoder.
        """
        features_only = features_only or classification_head_name is not None
        x, extra = self.encoder(src_tokens, features_only, return_all_hiddens, **kwargs)
        if classification_head_name is not None:
            x = self.classification_heads[classification_head_name](x)
        return x, extra

    def get_normalized_probs(self, net_output, log_probs: bool, sample=None) -> Tensor:
        """Returns probabilities, or their logarithms, in single precision."""
        scores = net_output[0].float()
        return F.log_softmax(scores, dim=-1) if log_probs else F.softmax(scores, dim=-1)


def longest(cfg: MaskedLMNetworkConfig, task) -> int:
    """Returns the longest input, in tokens: the option's, else the task's."""
    given = cfg.max_positions
    return int(task.max_positions() if given is None else given)
