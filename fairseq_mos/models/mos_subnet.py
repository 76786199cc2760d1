"""The dense subnet: one architecture of a search space as an ordinary fairseq model."""

from __future__ import annotations

from fairseq.models import register_model

from fairseq_mos.arch import Architecture
from fairseq_mos.models.config import MosSubnetConfig
from fairseq_mos.models.definitions import embed_in_config
from fairseq_mos.models.network import TranslationModel, build_stacks, sizes_of
from fairseq_mos.models.subnet_options import read_subnet
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.trainable import SUBNET_PARTS, freeze


@register_model("mos_subnet", dataclass=MosSubnetConfig)
class MosSubnet(TranslationModel):
    """A Transformer with its own sizes in every layer, without any elastic code.

    It trains, retrains and generates under fairseq's stock `translation` task. A new one takes its
    architecture from `--subnet FILE`; a checkpoint carries it.

    Args:
        encoder: an encoder with dense leaves.
        decoder: a decoder with dense leaves.
        architecture: the sizes.
    """

    def __init__(self, encoder, decoder, architecture: Architecture):
        super().__init__(encoder, decoder)
        self.architecture = architecture

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the subnet that `cfg` describes.

        Raises:
            UserError: no architecture, a malformed one, contradicting flags or a number out of range.
        """
        architecture = read_subnet(cfg, MosSubnetConfig, cls, sizes_of)
        embed_in_config(cfg, "model", architecture_definition=architecture.to_json())
        model = cls.from_dictionaries(cfg, task.source_dictionary, task.target_dictionary, architecture)
        freeze(model, SUBNET_PARTS[str(cfg.trainable)])
        return model.for_task(task)

    @classmethod
    def from_dictionaries(cls, cfg, source_dictionary, target_dictionary, architecture) -> MosSubnet:
        """Builds a subnet from the options in `cfg`, dictionaries and an architecture."""
        stacks = build_stacks(cfg, source_dictionary, target_dictionary, architecture, DenseLeaves())
        return cls(*stacks, architecture)
