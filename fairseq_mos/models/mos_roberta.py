"""The supernet of masked language models, and its named architectures."""

from __future__ import annotations

from fairseq.models import register_model, register_model_architecture

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.models.definitions import embed_in_config
from fairseq_mos.models.initialising import initialise, read
from fairseq_mos.models.masked_lm import MaskedLMEncoder, MaskedLMModel, leaf_options, longest
from fairseq_mos.models.masked_lm_config import MosRobertaConfig
from fairseq_mos.models.mos_roberta_subnet import MosRobertaSubnet, sizes_of
from fairseq_mos.models.supernet import Supernet, elastic_leaves, read_space, set_missing


@register_model("mos_roberta", dataclass=MosRobertaConfig)
class MosRoberta(Supernet, MaskedLMModel):
    """Mixture-of-Supernets (MoS) for BERT.

    One architecture is active at a time; the largest after building.

    Args:
        cfg: options.
        encoder: with elastic leaves of super size.
        space: the search space.
    """

    def __init__(self, cfg: MosRobertaConfig, encoder: MaskedLMEncoder, space: SearchSpace):
        MaskedLMModel.__init__(self, cfg, encoder)
        self.begin(space)

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the supernet that `cfg` describes.

        Raises:
            UserError: no or a malformed search space, contradicting flags or a number out of range.
        """
        space = read_space(cfg, MosRobertaConfig, cls, sizes_of)
        largest = space.largest()
        leaves = elastic_leaves(cfg, space, leaf_options(cfg))
        definitions = {"search_space_definition": space.to_json(), "num_experts": cfg.num_experts}
        cfg.max_positions = longest(cfg, task)
        # Once it has started, a checkpoint is all that it needs.
        origin, cfg.init_from = cfg.init_from, None
        cfg.initialised_from = origin or cfg.initialised_from
        definitions.update(init_from=None, initialised_from=cfg.initialised_from, max_positions=cfg.max_positions)
        embed_in_config(cfg, "model", **definitions)
        encoder = MaskedLMEncoder(cfg, task.source_dictionary, largest, leaves, merged=False)
        model = cls(cfg, encoder, space)
        if origin is not None:
            options = ("layer_norm_eps", "activation_fn", "encoder_normalize_before")
            shared = {name: getattr(cfg, name) for name in options} | dict(sizes_of(largest))
            initialise(model, read(origin), {**shared, "activation_fn": str(cfg.activation_fn)}, cfg.init_spread)
        return model

    def resize(self, architecture: Architecture) -> None:
        super().resize(architecture)
        if self.cfg.no_dropout_scaling:
            return
        # Attention's with the heads is MoS's; that of the width is HAT's.
        active, most = architecture.encoder, self.space.encoder
        encoder = self.encoder.sentence_encoder
        encoder.set_dropout(self.cfg.dropout * active.embed_dim / most.embed_dim[0])
        encoder.set_attention_dropout(self.cfg.attention_dropout * active.attention_heads / most.attention_heads[0])

    def dense_model(self, architecture: Architecture) -> MosRobertaSubnet:
        return MosRobertaSubnet.from_dictionary(self.cfg, self.dictionary, architecture, merged=False)

    def extract(self, architecture: Architecture | None = None, merge: bool = True) -> MosRobertaSubnet:
        """Returns the dense subnet of an architecture, see :meth:`Supernet.extract`.

        Args:
            architecture: the active one by default.
            merge: make one layer of neighbouring bottlenecks, which rounds otherwise; without, the subnet gives the
                supernet's scores bit for bit.
        """
        subnet = super().extract(architecture)
        return subnet.merged() if merge else subnet

    def register_classification_head(self, name, num_classes=None, inner_dim=None, **kwargs):
        """Refuses.

        Raises:
            UserError: always.
        """
        raise UserError("mos_roberta is a supernet: extract a subnet (fairseq-mos extract) and fine-tune that")


@register_model_architecture("mos_roberta", "mos_roberta_tiny")
def _tiny(args):
    set_missing(args, search_space="bert_tiny")


@register_model_architecture("mos_roberta", "mos_roberta_base")
def _base(args):
    set_missing(args, search_space="bert_v5.2")
