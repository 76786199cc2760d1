"""The supernet: a weight-sharing Transformer with mixed feed-forward experts, and its named architectures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fairseq.models import register_model, register_model_architecture

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.encoding import encode, encoding_dim
from fairseq_mos.errors import UserError
from fairseq_mos.fields import check_fields
from fairseq_mos.models.config import MosTransformerConfig, refuse_unsupported
from fairseq_mos.models.mos_subnet import MosSubnet
from fairseq_mos.models.network import TranslationModel, build_stacks, embed_in_config
from fairseq_mos.modules.block import collapse
from fairseq_mos.modules.leaves import ElasticLeaves


@register_model("mos_transformer", dataclass=MosTransformerConfig)
class MosTransformer(TranslationModel):
    """Mixture-of-Supernets (MoS) for translation.

    One architecture is active at a time; the largest after building.

    Args:
        cfg: options.
        encoder: an encoder with elastic leaves of super size.
        decoder: a decoder with elastic leaves of super size.
        space: the search space.
    """

    def __init__(self, cfg: MosTransformerConfig, encoder, decoder, space: SearchSpace):
        super().__init__(encoder, decoder)
        self.cfg = cfg
        self.space = space
        # Resuming with an edited search space would slice the weights wrongly and silently.
        # fairseq's EMA averages all tensors but those with "version" in their name, and fails on integers.
        self.register_buffer("search_space_version", torch.tensor(int(space.digest()[:8], 16)))
        self.architecture: Architecture | None = None
        self.activate(space.largest())

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the supernet that `cfg` describes.

        Raises:
            UserError: no or a malformed search space, contradicting flags or a number out of range.
        """
        check_fields(cfg, MosTransformerConfig)
        source = cfg.search_space_definition or cfg.search_space
        if not source:
            raise UserError("mos_transformer needs a search space: give --search-space NAME or FILE")
        space = SearchSpace.load(source)
        largest = space.largest()
        refuse_unsupported(cfg, largest, f"search space {space.name!r}")
        embed_in_config(cfg, "model", search_space_definition=space.to_json())
        leaves = ElasticLeaves(
            str(cfg.routing),
            cfg.num_experts,
            encoding_dim(space, str(cfg.arch_encoding)),
            cfg.router_hidden_dim,
            cfg.router_dropout,
            str(cfg.expert_init),
            str(cfg.expert_scope),
        )
        stacks = build_stacks(cfg, task.source_dictionary, task.target_dictionary, largest, leaves)
        model = cls(cfg, *stacks, space)
        return model.for_task(task)

    def activate(self, architecture: Architecture, encoding: Sequence[float] | None = None) -> None:
        """Makes `architecture` the active one, for all that follows.

        Args:
            architecture: an architecture of the search space.
            encoding: what the routers are fed with, instead of the architecture's own encoding.

        Raises:
            UserError: the architecture is not in the search space, or the encoding has another length than
                the routers were built for.
        """
        if architecture != self.architecture:
            self.space.validate(architecture)
        kind = str(self.cfg.arch_encoding)
        if encoding is None:
            encoding = encode(self.space, architecture, kind)
        if len(encoding) != encoding_dim(self.space, kind):
            raise UserError(
                f"an encoding has {len(encoding)} features, but the routers of this supernet take "
                f"{encoding_dim(self.space, kind)} ({kind} encoding)"
            )
        device = next(self.parameters()).device
        vector = torch.as_tensor(encoding, dtype=torch.float32, device=device)
        self.resize(architecture, vector)
        if not self.cfg.no_dropout_scaling:
            # With the active width over the super width; attention dropout stays (HAT).
            for stack, sizes, choices in zip((self.encoder, self.decoder), architecture.stacks, self.space.choices):
                stack.set_dropout(self.cfg.dropout * sizes.embed_dim / choices.embed_dim[0])
        self.architecture = architecture

    def extract(self, architecture: Architecture | None = None) -> MosSubnet:
        """Returns the dense subnet of an architecture (the active one by default), in eval mode.

        The supernet is left in eval mode with that architecture active.
        """
        self.eval()
        if architecture is not None:
            self.activate(architecture)
        subnet = MosSubnet.from_dictionaries(
            self.cfg, self.encoder.dictionary, self.decoder.dictionary, self.architecture
        )
        reference = next(self.parameters())
        subnet.to(device=reference.device, dtype=reference.dtype)
        subnet.load_state_dict(collapse(self))
        return subnet.eval()

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Loads weights.

        Raises:
            UserError: they belong to another search space.
        """
        checksum = state_dict.get("search_space_version")
        if checksum is not None and int(checksum) != int(self.search_space_version):
            raise UserError(
                f"the checkpoint was trained on another search space than {self.space.name!r} as it is now: "
                "give the space that it was trained on, or another --save-dir"
            )
        return super().load_state_dict(state_dict, strict, model_cfg, args)


def _defaults(args, **values) -> None:
    for name, value in values.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)


@register_model_architecture("mos_transformer", "mos_transformer_tiny")
def _tiny(args):
    _defaults(args, search_space="tiny", share_all_embeddings=True)


@register_model_architecture("mos_transformer", "mos_transformer_multi30k")
def _multi30k(args):
    _defaults(args, search_space="multi30k", share_all_embeddings=True, dropout=0.3)


@register_model_architecture("mos_transformer", "mos_transformer_iwslt_de_en")
def _iwslt_de_en(args):
    _defaults(args, search_space="iwslt14", dropout=0.375)


@register_model_architecture("mos_transformer", "mos_transformer_wmt_en_de")
def _wmt_en_de(args):
    _defaults(args, search_space="wmt", share_all_embeddings=True, dropout=0.3, attention_dropout=0.1)


@register_model_architecture("mos_transformer", "mos_transformer_wmt_en_fr")
def _wmt_en_fr(args):
    _wmt_en_de(args)
