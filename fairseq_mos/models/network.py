"""The one network as a fairseq model, built from an architecture, a kind of leaves and the model's options."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from fairseq.data import Dictionary
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.schema import memory_states
from fairseq_mos.models.config import NetworkConfig
from fairseq_mos.modules.block import Block
from fairseq_mos.modules.decoder import Decoder
from fairseq_mos.modules.encoder import Encoder
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.recall import Step
from fairseq_mos.modules.stack import StackOptions


class TranslationModel(Block, FairseqEncoderDecoderModel):
    """What supernets and subnets have in common: fairseq's interface of a Transformer."""

    family = "translation"

    def __init__(self, encoder: Encoder, decoder: Decoder):
        FairseqEncoderDecoderModel.__init__(self, encoder, decoder)
        self.supports_align_args = True

    def for_task(self, task):
        """Returns itself, ready for the task's criterion: batches with word alignments need the attention."""
        self.decoder.attention_in_training = bool(getattr(getattr(task, "cfg", None), "load_alignments", False))
        return self

    @property
    def full_context_alignment(self) -> bool:
        """Whether fairseq has to align words by a pass over whole sentences, since decoding gives no attention."""
        return not self.decoder.attention_in_decoding

    def resize(self, architecture: Architecture) -> None:
        """Sets the active sizes of elastic stacks; the architecture fits into their super sizes."""
        encoder, decoder = architecture.encoder, architecture.decoder
        states = [memory_states(value) for value in decoder.arbitrary_attention]
        self.encoder.activate(encoder, max(states))
        self.decoder.activate(decoder, encoder.embed_dim, states)
        if self.encoder.embed_tokens is self.decoder.embed_tokens:
            self.encoder.embed_tokens.activate(max(encoder.embed_dim, decoder.embed_dim))

    def steps(self) -> Iterator[Step]:
        """Yields what can be kept of a pass for other architectures; of a supernet. See :meth:`Stack.steps`."""
        memory: Hashable = ()
        for memory_step in self.encoder.steps():
            memory = memory_step[-1]
            yield memory_step
        norm = None if self.encoder.layer_norm is None else self.encoder.layer_norm.signature()
        yield from self.decoder.steps((memory, self.encoder.memory_states, norm))

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = False,
        features_only: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
    ) -> tuple[Tensor, dict]:
        """Predicts every target token; see :meth:`Decoder.forward` for arguments and result."""
        encoder_out = self.encoder(src_tokens, src_lengths, return_all_hiddens)
        return self.decoder(
            prev_output_tokens,
            encoder_out,
            features_only=features_only,
            alignment_layer=alignment_layer,
            alignment_heads=alignment_heads,
        )


def build_stacks(
    cfg: NetworkConfig,
    source_dictionary: Dictionary,
    target_dictionary: Dictionary,
    architecture: Architecture,
    leaves: DenseLeaves,
) -> tuple[Encoder, Decoder]:
    """Builds encoder and decoder.

    Args:
        cfg: options of the model.
        source_dictionary: source vocabulary.
        target_dictionary: target vocabulary.
        architecture: the sizes; the largest architecture of a space for elastic leaves.
        leaves: makes the leaves.

    Raises:
        UserError: shared embeddings without a joined dictionary.
    """
    enc_dim, dec_dim = architecture.encoder.embed_dim, architecture.decoder.embed_dim
    if cfg.share_all_embeddings:
        if source_dictionary != target_dictionary:
            raise UserError(
                f"--share-all-embeddings needs one dictionary for both languages, but they differ "
                f"({len(source_dictionary)} and {len(target_dictionary)} entries): preprocess with "
                "--joined-dictionary"
            )
        source_table = target_table = leaves.embedding(
            len(source_dictionary), max(enc_dim, dec_dim), source_dictionary.pad()
        )
    else:
        source_table = leaves.embedding(len(source_dictionary), enc_dim, source_dictionary.pad())
        target_table = leaves.embedding(len(target_dictionary), dec_dim, target_dictionary.pad())
    states = [memory_states(value) for value in architecture.decoder.arbitrary_attention]
    encoder = Encoder(
        source_dictionary,
        source_table,
        architecture.encoder,
        max(states),
        leaves,
        _options(cfg, cfg.encoder_normalize_before, cfg.max_source_positions),
    )
    decoder = Decoder(
        target_dictionary,
        target_table,
        architecture.decoder,
        enc_dim,
        states,
        leaves,
        _options(cfg, cfg.decoder_normalize_before, cfg.max_target_positions),
        share_output=cfg.share_all_embeddings or cfg.share_decoder_input_output_embed,
    )
    return encoder, decoder


def sizes_of(architecture: Architecture) -> list[tuple[str, int]]:
    """Returns what fairseq's size flags would have to say."""
    return [
        (f"{name}_{size}", value)
        for name, side in zip(("encoder", "decoder"), architecture.stacks)
        for size, value in (
            ("embed_dim", side.embed_dim),
            ("ffn_embed_dim", max(side.ffn_dims)),
            ("layers", side.layers),
            ("attention_heads", max(side.self_attention_heads)),
        )
    ]


def _options(cfg: NetworkConfig, normalize_before: bool, max_positions: int) -> StackOptions:
    return StackOptions(
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        activation_dropout=cfg.activation_dropout,
        activation_fn=str(cfg.activation_fn),
        normalize_before=normalize_before,
        max_positions=max_positions,
        positions=not cfg.no_token_positional_embeddings,
        normalize_embedding=cfg.layernorm_embedding,
        checkpoint_activations=cfg.checkpoint_activations,
    )
