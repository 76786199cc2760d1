"""The supernet: a weight-sharing Transformer with mixed feed-forward experts, and its named architectures."""

from __future__ import annotations

from fairseq.models import register_model, register_model_architecture

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.models.config import MosTransformerConfig
from fairseq_mos.models.definitions import embed_in_config
from fairseq_mos.models.mos_subnet import MosSubnet
from fairseq_mos.models.network import TranslationModel, build_stacks, sizes_of
from fairseq_mos.models.supernet import Supernet, elastic_leaves, read_space, set_missing


@register_model("mos_transformer", dataclass=MosTransformerConfig)
class MosTransformer(Supernet, TranslationModel):
    """Mixture-of-Supernets (MoS) for translation.

    One architecture is active at a time; the largest after building.

    Args:
        cfg: options.
        encoder: an encoder with elastic leaves of super size.
        decoder: a decoder with elastic leaves of super size.
        space: the search space.
    """

    def __init__(self, cfg: MosTransformerConfig, encoder, decoder, space: SearchSpace):
        TranslationModel.__init__(self, encoder, decoder)
        self.cfg = cfg
        self.begin(space)

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the supernet that `cfg` describes.

        Raises:
            UserError: no or a malformed search space, contradicting flags or a number out of range.
        """
        space = read_space(cfg, MosTransformerConfig, cls, sizes_of)
        leaves = elastic_leaves(cfg, space)
        embed_in_config(cfg, "model", search_space_definition=space.to_json(), num_experts=cfg.num_experts)
        stacks = build_stacks(cfg, task.source_dictionary, task.target_dictionary, space.largest(), leaves)
        model = cls(cfg, *stacks, space)
        return model.for_task(task)

    def resize(self, architecture: Architecture) -> None:
        super().resize(architecture)
        if not self.cfg.no_dropout_scaling:
            # With the active width over the super width; attention dropout stays (HAT).
            for stack, sizes, choices in zip((self.encoder, self.decoder), architecture.stacks, self.space.choices):
                stack.set_dropout(self.cfg.dropout * sizes.embed_dim / choices.embed_dim[0])

    def dense_model(self, architecture: Architecture) -> MosSubnet:
        return MosSubnet.from_dictionaries(self.cfg, self.encoder.dictionary, self.decoder.dictionary, architecture)


@register_model_architecture("mos_transformer", "mos_transformer_tiny")
def _tiny(args):
    set_missing(args, search_space="tiny", share_all_embeddings=True)


@register_model_architecture("mos_transformer", "mos_transformer_multi30k")
def _multi30k(args):
    set_missing(args, search_space="multi30k", share_all_embeddings=True, dropout=0.3)


@register_model_architecture("mos_transformer", "mos_transformer_iwslt_de_en")
def _iwslt_de_en(args):
    set_missing(args, search_space="iwslt14", dropout=0.375)


@register_model_architecture("mos_transformer", "mos_transformer_wmt_en_de")
def _wmt_en_de(args):
    set_missing(args, search_space="wmt", share_all_embeddings=True, dropout=0.3, attention_dropout=0.1)


@register_model_architecture("mos_transformer", "mos_transformer_wmt_en_fr")
def _wmt_en_fr(args):
    _wmt_en_de(args)
