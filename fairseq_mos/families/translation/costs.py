"""Parameters and FLOPs of a dense translation model, from its sizes alone.

Nothing is built or run, so a search can check its constraints on millions of architectures. The tests
hold these formulas against HAT's published figures.

Conventions (HAT's tables): parameters with and without embeddings and output layer; FLOPs are 2 x the
multiply-accumulates (MACs) of one teacher-forced pass of one sentence, without the output layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.costs import Cost, Parameters, attention, counted, feed_forward, norm
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.schema import memory_states

SHARING = ("all", "decoder", "none")
"""How embeddings are shared; see :func:`parameters`."""


@dataclass(frozen=True)
class Sizing:
    """What costs depend on besides the architecture.

    Attributes:
        source_tokens: source length.
        target_tokens: target length.
        source_vocabulary: entries of the source dictionary, special symbols included; None: no embeddings.
        target_vocabulary: entries of the target dictionary; with `share="all"` it may be left out.
        share: "all": one table, as wide as the wider side, for source, target and output; "decoder": a
            source table, and one table for target and output; "none": a source table, a target table and
            an output projection without bias.
        normalize_before: pre-norm of encoder and decoder, which adds a final layer norm.
        normalize_embedding: a layer norm on each side's embeddings.

    Raises:
        UserError: an unknown `share`, or vocabularies that do not fit it.
    """

    source_tokens: int = 30
    target_tokens: int = 30
    source_vocabulary: int | None = None
    target_vocabulary: int | None = None
    share: str = "all"
    normalize_before: tuple[bool, bool] = (False, False)
    normalize_embedding: bool = False

    def __post_init__(self) -> None:
        if self.share not in SHARING:
            raise UserError(f"share is {self.share!r}, allowed: {', '.join(SHARING)}")
        source, target = self.source_vocabulary, self.target_vocabulary
        if source is None and target is None:
            return
        if self.share == "all":
            if source is None or target not in (None, source):
                raise UserError(
                    f"share is 'all', which needs one vocabulary, but the source vocabulary is "
                    f"{source} and the target vocabulary {target}"
                )
        elif source is None or target is None:
            raise UserError(f"share is {self.share!r}, which needs a source and a target vocabulary")


def costs(arch: Architecture, sizing: Sizing) -> Iterator[Cost]:
    """Yields what each part of the dense subnet costs; it has sinusoidal (parameter-free) positions.

    A decoder layer projects and attends `memory_states` x `source_tokens` keys and values. Not counted as work:
    embeddings, layer norms, softmax, activations, scaling.
    """
    encoder, decoder = arch.encoder, arch.decoder
    source, target = sizing.source_tokens, sizing.target_tokens
    for sizes, before in zip((encoder, decoder), sizing.normalize_before):
        for _ in range(before + sizing.normalize_embedding):
            yield norm(sizes.embed_dim)
    dim = encoder.embed_dim
    for ffn_dim in encoder.ffn_dims:
        yield attention(dim, dim, encoder.qkv_dim, source, source)
        yield feed_forward(dim, ffn_dim, source)
        yield from (norm(dim) for _ in range(2))
    dim = decoder.embed_dim
    for ffn_dim, arbitrary in zip(decoder.ffn_dims, decoder.arbitrary_attention):
        yield attention(dim, dim, decoder.qkv_dim, target, target)
        yield attention(dim, encoder.embed_dim, decoder.qkv_dim, target, memory_states(arbitrary) * source)
        yield feed_forward(dim, ffn_dim, target)
        yield from (norm(dim) for _ in range(3))
    yield from _vocabulary(encoder.embed_dim, dim, sizing)


def _vocabulary(encoder_dim: int, decoder_dim: int, sizing: Sizing) -> Iterator[Cost]:
    source = sizing.source_vocabulary
    target = source if sizing.target_vocabulary is None and sizing.share == "all" else sizing.target_vocabulary
    if source is not None:
        if sizing.share == "all":
            yield Cost("embedding", source * max(encoder_dim, decoder_dim))
        else:
            yield Cost("embedding", source * encoder_dim)
            yield Cost("embedding", target * decoder_dim)
    if target is not None:
        own = target * decoder_dim
        yield Cost("output", own if sizing.share == "none" else 0, sizing.target_tokens * own)


def parameters(
    arch: Architecture,
    source_vocabulary: int | None = None,
    target_vocabulary: int | None = None,
    share: str = "all",
    normalize_before: bool | tuple[bool, bool] = False,
) -> Parameters:
    """Counts the parameters of the dense subnet; see :class:`Sizing` for the arguments.

    Args:
        arch: the architecture.
        source_vocabulary: entries of the source dictionary.
        target_vocabulary: entries of the target dictionary.
        share: how embeddings are shared.
        normalize_before: pre-norm; a pair sets encoder and decoder apart.

    Raises:
        UserError: an unknown `share`, or vocabularies that do not fit it.
    """
    norms = normalize_before if isinstance(normalize_before, tuple) else (normalize_before, normalize_before)
    sizing = Sizing(
        source_vocabulary=source_vocabulary, target_vocabulary=target_vocabulary, share=share, normalize_before=norms
    )
    return counted(costs(arch, sizing))


def flops(
    arch: Architecture,
    source_tokens: int = 30,
    target_tokens: int = 30,
    output_vocabulary: int | None = None,
) -> int:
    """Returns 2 x MACs of one teacher-forced pass of one sentence.

    HAT's published GFLOPs come out within 0.5 % for all 44 subnets. Its counter adds one MAC for every
    element that a layer norm, the scaling of queries or the scaling of embeddings touches: with these,
    all 44 agree to the published two decimals (inferred from the figures, and tested).

    Args:
        arch: the architecture.
        source_tokens: source length.
        target_tokens: target length.
        output_vocabulary: entries of the target dictionary; without it the output layer is left out.
    """
    return 2 * sum(
        cost.macs for cost in costs(arch, Sizing(source_tokens, target_tokens, output_vocabulary)) if cost.macs
    )
