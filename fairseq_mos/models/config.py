"""Configuration of the models; flat dataclasses, so that --arch and fairseq-hydra-train both work.

No postponed annotations here: fairseq reads the field types at run time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.utils import get_available_activation_fns

from fairseq_mos.arch.encoding import ENCODINGS
from fairseq_mos.errors import UserError
from fairseq_mos.fields import ranged
from fairseq_mos.modules.gates import SCOPES
from fairseq_mos.modules.init import EXPERT_INITS
from fairseq_mos.modules.leaves import MODULATIONS
from fairseq_mos.modules.routing import ROUTINGS
from fairseq_mos.modules.trainable import SUBNET_PARTS, SUPERNET_PARTS
from fairseq_mos.ranges import POSITIONS, PROBABILITY, Range

SIZE_HELP = "set by the architecture; a conflicting value is refused"


SIZES = tuple(
    f"{side}_{size}"
    for side in ("encoder", "decoder")
    for size in ("embed_dim", "ffn_embed_dim", "layers", "attention_heads")
)
"""fairseq's size flags: the architecture says them."""


def option(default, text):
    return field(default=default, metadata={"help": text})


@dataclass
class EncoderConfig(FairseqDataclass):
    """Options that networks of all families have: all have an encoder."""

    activation_dropout: float = ranged(
        0.0, "dropout probability after the activation of the feed-forward block (default: 0)", PROBABILITY
    )
    encoder_normalize_before: bool = option(False, "layer norm before each encoder sublayer (pre-norm)")
    checkpoint_activations: bool = option(
        False, "recompute each layer in the backward pass: less memory, more time"
    )
    # fairseq's size flags are accepted only to say that sizes come from elsewhere.
    encoder_embed_dim: Optional[int] = option(None, SIZE_HELP)
    encoder_ffn_embed_dim: Optional[int] = option(None, SIZE_HELP)
    encoder_layers: Optional[int] = option(None, SIZE_HELP)
    encoder_attention_heads: Optional[int] = option(None, SIZE_HELP)
    encoder_layerdrop: float = option(0.0, "refused: depth is elastic already")
    quant_noise_pq: float = option(0.0, "refused: it would replace the leaves")
    quant_noise_scalar: float = option(0.0, "refused: it would replace the leaves")


@dataclass
class NetworkConfig(EncoderConfig):
    """Options that supernets and subnets have in common."""

    dropout: float = ranged(0.1, "dropout probability of every sublayer's output (default: 0.1)", PROBABILITY)
    attention_dropout: float = ranged(0.0, "dropout probability of attention weights (default: 0)", PROBABILITY)
    activation_fn: ChoiceEnum(get_available_activation_fns()) = option(
        "relu", "activation of the feed-forward block (default: relu)"
    )
    decoder_normalize_before: bool = option(False, "layer norm before each decoder sublayer (pre-norm)")
    share_all_embeddings: bool = option(
        False, "share source, target and output embeddings (needs a joined dictionary)"
    )
    share_decoder_input_output_embed: bool = option(False, "share target and output embeddings")
    no_token_positional_embeddings: bool = option(False, "do not add sinusoidal positions")
    layernorm_embedding: bool = option(False, "layer norm on the embeddings")
    max_source_positions: int = ranged(1024, "longest source, in tokens (default: 1024)", POSITIONS)
    max_target_positions: int = ranged(1024, "longest target, in tokens (default: 1024)", POSITIONS)
    decoder_embed_dim: Optional[int] = option(None, SIZE_HELP)
    decoder_ffn_embed_dim: Optional[int] = option(None, SIZE_HELP)
    decoder_layers: Optional[int] = option(None, SIZE_HELP)
    decoder_attention_heads: Optional[int] = option(None, SIZE_HELP)
    decoder_layerdrop: float = option(0.0, "refused: depth is elastic already")


@dataclass
class SupernetConfig(FairseqDataclass):
    """Options that supernets of all families have."""

    search_space: Optional[str] = option(
        None, "search space: name of a shipped one or a YAML file (default: the named architecture's)"
    )
    routing: ChoiceEnum(list(ROUTINGS)) = option(
        "neuron",
        "how experts are mixed: shared (one expert: plain weight sharing), global (one mix for the whole "
        "network; k-shot NAS with --expert-scope all), layer (layer-wise MoS), neuron (neuron-wise MoS), low-rank (as "
        "layer, but experts are one weight with differences of --expert-rank); or which one is used: split (that of "
        "the value of --split-gene: few-shot NAS), disentangled (that of the layer's own feed-forward width, in "
        "attention of its number of heads) (default: neuron)",
    )
    split_gene: Optional[str] = option(
        None, "with --routing split: the gene by whose value the experts are split, such as decoder.layers"
    )
    num_experts: int = ranged(
        2,
        "experts of every feed-forward weight, mixed for each architecture; split and disentangled have one for each "
        "choice in the search space instead (default: 2)",
        Range(int, 1, 1000),
    )
    expert_rank: int = ranged(
        8,
        "with --routing low-rank: rank of each expert's difference from the shared weight (default: 8)",
        Range(int, 1, 1024),
    )
    router_hidden_dim: int = ranged(128, "hidden width of the routers (default: 128)", Range(int, 1, 65_536))
    router_dropout: float = ranged(0.1, "dropout probability inside the routers (default: 0.1)", PROBABILITY)
    arch_encoding: ChoiceEnum(list(ENCODINGS)) = option(
        "mean", "input of the routers: mean (means over layers) or full (every layer) (default: mean)"
    )
    expert_init: ChoiceEnum(list(EXPERT_INITS)) = option(
        "centered",
        "initialisation of experts: centered (scattered around one Xavier draw), published (independent "
        "draws) or copy (all equal) (default: centered)",
    )
    expert_scope: ChoiceEnum(list(SCOPES)) = option(
        "ffn",
        "weights that have experts: ffn (the feed-forward blocks, as in MoS), attention (all four projections of "
        "every attention) or all (default: ffn)",
    )
    trainable: ChoiceEnum(list(SUPERNET_PARTS)) = option(
        "all",
        "what training changes: all, or routing: what the architecture adds to shared weights alone, that is routers, "
        "modulation and differences of low rank; with --finetune-from-model of a supernet without them (default: all)",
    )
    modulation: ChoiceEnum(list(MODULATIONS)) = option(
        "none",
        "leaves whose output channels the architecture scales and shifts: none, norms, linears or all (default: none)",
    )
    modulation_hidden_dim: int = ranged(
        32, "hidden width of the networks that emit scales and shifts (default: 32)", Range(int, 1, 65_536)
    )
    search_space_definition: Optional[str] = option(
        None, "filled in by training: the search space itself, so that checkpoints are self-contained"
    )


@dataclass
class MosTransformerConfig(SupernetConfig, NetworkConfig):
    """Options of the supernet."""

    no_dropout_scaling: bool = option(
        False, "do not scale dropout with the active width over the super width"
    )


@dataclass
class SubnetConfig(FairseqDataclass):
    """Options that dense subnets of all families have."""

    subnet: Optional[str] = option(
        None,
        "architecture of the subnet: a YAML file; or an extracted checkpoint (FILE.pt), whose network options (norms, "
        "activation, shared embeddings, ...) become the subnet's, too, but for dropout",
    )
    trainable: ChoiceEnum(list(SUBNET_PARTS)) = option(
        "all", "what training changes: all, or norms-biases: layer norms and biases alone (default: all)"
    )
    architecture_definition: Optional[str] = option(
        None, "filled in by extraction and training: the architecture itself"
    )
    search_space_definition: Optional[str] = option(
        None, "filled in by extraction: the search space that the architecture comes from"
    )


@dataclass
class MosSubnetConfig(SubnetConfig, NetworkConfig):
    """Options of a dense subnet."""


def method(options: object) -> dict[str, str]:
    """Returns how the architecture acts on a supernet's leaves, as signatures name it; further options if unusual.

    Args:
        options: those of :class:`SupernetConfig`, as attributes or a dictionary; a checkpoint's may lack some.
    """

    def get(name: str) -> str:
        value = options.get(name) if isinstance(options, dict) else getattr(options, name, None)
        return "" if value is None else str(value)

    about = {"routing": get("routing"), "experts": "1" if get("routing") == "shared" else get("num_experts")}
    names = ("expert_scope", "split_gene", "modulation")
    if about["routing"] == "low-rank":
        names = ("expert_rank", *names)
    further = {name: get(name) for name in names}
    return about | {name: value for name, value in further.items() if value not in ("", "ffn", "none")}


REFUSED = ("encoder_layerdrop", "decoder_layerdrop", "quant_noise_pq", "quant_noise_scalar")
"""fairseq's options that the networks do not support."""


def refuse_unsupported(cfg: FairseqDataclass, sizes: Sequence[tuple[str, object]], source: str) -> None:
    """Raises for options that the network does not support or that contradict the architecture.

    Args:
        cfg: the model's configuration.
        sizes: fairseq's names of sizes (see :data:`SIZES`), and what the architecture says.
        source: where the sizes come from, for the message.

    Raises:
        UserError: names the flag.
    """
    for name in REFUSED:
        if getattr(cfg, name, 0):
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} is not supported by this model: leave it at 0")
    for name, size in sizes:
        given = getattr(cfg, name)
        if given is not None and given != size:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} {given} contradicts {source}, which says {size}: leave the flag out")
