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
    init_from: Optional[str] = option(
        None,
        "start from a trained encoder of super size: a checkpoint of fairseq's roberta, or a Hugging Face folder with "
        "BERT or RoBERTa (config.json, model.safetensors); bottlenecks start as identities, experts as copies",
    )
    init_spread: float = ranged(
        0.1,
        "with --init-from: how far mixed experts are scattered around the weight that they start from, relative to its "
        "standard deviation; of equal experts (0) the routers' gradient is zero (default: 0.1)",
        Range(float, 0.0, 10.0),
    )
    initialised_from: Optional[str] = option(None, "filled in by training: what --init-from was")


@dataclass
class MosRobertaSubnetConfig(SubnetConfig, MaskedLMNetworkConfig):
    """Options of a dense subnet."""

    bottlenecks: ChoiceEnum(["merged", "apart"]) = option(
        "merged", "an output bottleneck and the next input bottleneck are one layer (merged) or two (default: merged)"
    )
