"""Configuration of masked language models; flat dataclasses, so that --arch and fairseq-hydra-train both work.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.utils import get_available_activation_fns

from fairseq_mos.fields import ranged
from fairseq_mos.models.config import EncoderConfig, SubnetConfig, SupernetConfig, option
from fairseq_mos.ranges import POSITIONS, PROBABILITY, Range

_ACTIVATIONS = ChoiceEnum(get_available_activation_fns())


@dataclass
class MaskedLMNetworkConfig(EncoderConfig):
    """Options that supernets and subnets have in common; their names are those of fairseq's `roberta`."""

    dropout: float = ranged(
        0.1, "dropout probability of embeddings and every sublayer's output (default: 0.1)", PROBABILITY
    )
    attention_dropout: float = ranged(0.1, "dropout probability of attention weights (default: 0.1)", PROBABILITY)
    activation_fn: _ACTIVATIONS = option("gelu", "activation of feed-forward blocks and head (default: gelu)")
    layer_norm_eps: float = ranged(
        1e-5, "what layer norms add to the variance: 1e-5 in RoBERTa, 1e-12 in BERT (default: 1e-5)",
        Range(float, 1e-15, 1.0),
    )  # fmt: skip
    max_positions: Optional[int] = ranged(None, "longest input, in tokens (default: the task's)", POSITIONS)
    pooler_activation_fn: _ACTIVATIONS = option("tanh", "activation of classification heads (default: tanh)")
    pooler_dropout: float = ranged(0.0, "dropout probability of classification heads (default: 0)", PROBABILITY)
    load_checkpoint_heads: bool = option(False, "register the classification heads that a checkpoint has")


@dataclass
class MosRobertaConfig(SupernetConfig, MaskedLMNetworkConfig):
    """Options of the supernet."""

    no_dropout_scaling: bool = option(
        False, "do not scale dropout with the active width, and that of attention with heads, over the super ones"
    )


@dataclass
class MosRobertaSubnetConfig(SubnetConfig, MaskedLMNetworkConfig):
    """Options of a dense subnet."""

    bottlenecks: ChoiceEnum(["merged", "apart"]) = option(
        "merged", "an output bottleneck and the next input bottleneck are one layer (merged) or two (default: merged)"
    )
