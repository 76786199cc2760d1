"""The dense masked language model: one architecture of a search space as an ordinary fairseq model."""

from __future__ import annotations

import copy
from types import SimpleNamespace

from fairseq.data import Dictionary
from fairseq.models import register_model
from fairseq.models.roberta import RobertaClassificationHead

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.models.definitions import embed_in_config
from fairseq_mos.models.masked_lm import POSITIONS, MaskedLMEncoder, MaskedLMModel, leaf_options, longest
from fairseq_mos.models.masked_lm_config import MosRobertaSubnetConfig
from fairseq_mos.models.subnet_options import read_subnet
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.sentence_encoder import merged
from fairseq_mos.modules.trainable import SUBNET_PARTS, freeze


def sizes_of(architecture: Architecture) -> list[tuple[str, int]]:
    """Returns what fairseq's size flags would have to say."""
    sizes = architecture.encoder
    values = {
        "embed_dim": sizes.embed_dim,
        "ffn_embed_dim": sizes.ffn_dim,
        "layers": sizes.layers,
        "attention_heads": sizes.attention_heads,
    }
    return [(f"encoder_{name}", value) for name, value in values.items()]


@register_model("mos_roberta_subnet", dataclass=MosRobertaSubnetConfig)
class MosRobertaSubnet(MaskedLMModel):
    """A masked language model without any elastic code.

    It trains and retrains under fairseq's stock `masked_lm` task, and is fine-tuned under `sentence_prediction`. A new
    one takes its architecture from `--subnet FILE`; a checkpoint carries it.

    Args:
        cfg: options.
        encoder: with dense leaves.
        architecture: the sizes.
    """

    def __init__(self, cfg: MosRobertaSubnetConfig, encoder: MaskedLMEncoder, architecture: Architecture):
        super().__init__(cfg, encoder)
        self.architecture = architecture

    @property
    def args(self) -> SimpleNamespace:
        """fairseq's names of what its tasks and interfaces ask a `roberta` for."""
        return SimpleNamespace(max_positions=self.max_positions(), **dict(sizes_of(self.architecture)))

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the subnet that `cfg` describes.

        Raises:
            UserError: no architecture, a malformed one, contradicting flags or a number out of range.
        """
        architecture = read_subnet(cfg, MosRobertaSubnetConfig, cls, sizes_of)
        cfg.max_positions = longest(cfg, task)
        definition = architecture.to_json()
        embed_in_config(cfg, "model", architecture_definition=definition, max_positions=cfg.max_positions)
        model = cls._build(cfg, task.source_dictionary, architecture, cfg.bottlenecks == "merged")
        freeze(model, SUBNET_PARTS[str(cfg.trainable)])
        return model

    @classmethod
    def from_dictionary(cls, options, dictionary: Dictionary, architecture: Architecture, merged: bool):
        """Builds a subnet.

        Args:
            options: of a model, as attributes; those that are missing have their defaults.
            dictionary: of the tokens, with the mask.
            architecture: the sizes.
            merged: neighbouring bottlenecks are one layer.
        """
        names = MosRobertaSubnetConfig.__dataclass_fields__
        given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
        cfg = MosRobertaSubnetConfig(**given)
        # A supernet's option of that name is about other parts.
        cfg.trainable = "all"
        cfg.bottlenecks = "merged" if merged else "apart"
        return cls._build(cfg, dictionary, architecture, merged)

    @classmethod
    def _build(cls, cfg, dictionary, architecture, merged: bool):
        encoder = MaskedLMEncoder(cfg, dictionary, architecture, DenseLeaves(leaf_options(cfg)), merged)
        return cls(cfg, encoder, architecture)

    def merged(self) -> MosRobertaSubnet:
        """Returns the subnet in which neighbouring bottlenecks are one layer; itself where there are none."""
        if self.cfg.bottlenecks == "merged" or not self.architecture.encoder.hidden_dims:
            return self
        other = self.from_dictionary(self.cfg, self.dictionary, self.architecture, merged=True)
        other.classification_heads = copy.deepcopy(self.classification_heads)
        reference = next(self.parameters())
        other.to(device=reference.device, dtype=reference.dtype)
        layers = self.architecture.encoder.layers
        other.load_state_dict(merged(self.state_dict(), layers, "encoder.sentence_encoder."))
        return other.train(self.training)

    def register_classification_head(self, name, num_classes=None, inner_dim=None, **kwargs):
        """Adds a head over the first token: linear, activation, linear, with dropout (fairseq's `roberta`)."""
        width = self.architecture.encoder.embed_dim
        self.classification_heads[name] = RobertaClassificationHead(
            input_dim=width,
            inner_dim=inner_dim or width,
            num_classes=num_classes,
            activation_fn=str(self.cfg.pooler_activation_fn),
            pooler_dropout=self.cfg.pooler_dropout,
        )

    def upgrade_state_dict_named(self, state_dict, name):
        """Fits what a checkpoint has to this model: heads of other tasks, and further positions.

        Raises:
            UserError: the checkpoint has fewer positions.
        """
        super().upgrade_state_dict_named(state_dict, name)
        prefix = f"{name}." if name else ""
        self._fit_positions(state_dict, prefix + POSITIONS)
        heads = f"{prefix}classification_heads."
        for key in [key for key in state_dict if key.startswith(heads)]:
            head = key[len(heads) :].split(".")[0]
            if head not in self.classification_heads and self.cfg.load_checkpoint_heads:
                inner, classes = (len(state_dict[f"{heads}{head}.{part}.weight"]) for part in ("dense", "out_proj"))
                self.register_classification_head(head, classes, inner)
        own = {heads + key: value for key, value in self.classification_heads.state_dict().items()}
        for key in [key for key in state_dict if key.startswith(heads)]:
            if key not in own or own[key].shape != state_dict[key].shape:
                del state_dict[key]
        for key, value in own.items():
            state_dict.setdefault(key, value)

    def _fit_positions(self, state_dict, key: str) -> None:
        rows = len(self.encoder.sentence_encoder.embed_positions.weight)
        given = len(state_dict[key]) if key in state_dict else rows
        if given < rows:
            offset = self.dictionary.pad() + 1
            raise UserError(
                f"--max-positions is {rows - offset}, but the checkpoint has {given - offset}: give --max-positions "
                f"{given - offset}"
            )
        if key in state_dict:
            state_dict[key] = state_dict[key][:rows]
