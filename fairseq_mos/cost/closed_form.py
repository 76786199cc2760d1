"""Parameters and FLOPs of a dense subnet, from its sizes alone.

Nothing is built or run, so a search can check its constraints on millions of architectures. The tests
hold these formulas against HAT's published figures.

Conventions (HAT's tables): parameters with and without embeddings and output layer; FLOPs are 2 x the
multiply-accumulates (MACs) of one teacher-forced pass of one sentence, without the output layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.schema import memory_states

SHARING = ("all", "decoder", "none")
"""How embeddings are shared; see :func:`parameters`."""


@dataclass(frozen=True)
class Parameters:
    """Parameter counts.

    Attributes:
        total: everything; equals `no_embed` where no vocabulary was given.
        no_embed: without embeddings and output layer.
    """

    total: int
    no_embed: int


def parameters(
    arch: Architecture,
    source_vocabulary: int | None = None,
    target_vocabulary: int | None = None,
    share: str = "all",
    normalize_before: bool | tuple[bool, bool] = False,
) -> Parameters:
    """Counts the parameters of the dense subnet, which has sinusoidal (parameter-free) positions.

    Args:
        arch: the architecture.
        source_vocabulary: entries of the source dictionary, special symbols included.
        target_vocabulary: entries of the target dictionary; with `share="all"` it may be left out.
        share: "all": one table, as wide as the wider side, for source, target and output; "decoder": a
            source table, and one table for target and output; "none": a source table, a target table and
            an output projection without bias.
        normalize_before: pre-norm, which adds a final layer norm; a pair sets encoder and decoder apart.

    Raises:
        UserError: an unknown `share`, or vocabularies that do not fit it.
    """
    encoder_norm, decoder_norm = _pair(normalize_before)
    source_dim, target_dim = arch.encoder.embed_dim, arch.decoder.embed_dim
    total = 2 * source_dim * encoder_norm + 2 * target_dim * decoder_norm
    for ffn_dim in arch.encoder.ffn_dims:
        total += _attention_parameters(source_dim, source_dim, arch.encoder.qkv_dim)
        total += _ffn_parameters(source_dim, ffn_dim)
        total += 2 * 2 * source_dim
    for ffn_dim in arch.decoder.ffn_dims:
        total += _attention_parameters(target_dim, target_dim, arch.decoder.qkv_dim)
        total += _attention_parameters(target_dim, source_dim, arch.decoder.qkv_dim)
        total += _ffn_parameters(target_dim, ffn_dim)
        total += 3 * 2 * target_dim
    embeddings = _embedding_parameters(arch, source_vocabulary, target_vocabulary, share)
    return Parameters(total=total + embeddings, no_embed=total)


def flops(
    arch: Architecture,
    source_tokens: int = 30,
    target_tokens: int = 30,
    output_vocabulary: int | None = None,
) -> int:
    """Returns 2 x MACs of one teacher-forced pass of one sentence.

    Counted are the matrix products: linear layers without their biases, and in attention queries times
    keys and weights times values, over full lengths (a causal mask saves nothing in a dense product).
    A decoder layer projects and attends `memory_states` x `source_tokens` keys and values. Not counted:
    embeddings, layer norms, softmax, activations, scaling.

    HAT's published GFLOPs come out within 0.5 % for all 44 subnets. Its counter adds one MAC for every
    element that a layer norm, the scaling of queries or the scaling of embeddings touches: with these,
    all 44 agree to the published two decimals (inferred from the figures, and tested).

    Args:
        arch: the architecture.
        source_tokens: source length.
        target_tokens: target length.
        output_vocabulary: entries of the target dictionary; without it the output layer is left out.
    """
    source_dim, target_dim = arch.encoder.embed_dim, arch.decoder.embed_dim
    macs = 0
    for ffn_dim in arch.encoder.ffn_dims:
        qkv_dim = arch.encoder.qkv_dim
        macs += _attention_macs(source_dim, source_dim, qkv_dim, source_tokens, source_tokens)
        macs += 2 * source_tokens * source_dim * ffn_dim
    for ffn_dim, arbitrary in zip(arch.decoder.ffn_dims, arch.decoder.arbitrary_attention):
        qkv_dim, memory_tokens = arch.decoder.qkv_dim, memory_states(arbitrary) * source_tokens
        macs += _attention_macs(target_dim, target_dim, qkv_dim, target_tokens, target_tokens)
        macs += _attention_macs(target_dim, source_dim, qkv_dim, target_tokens, memory_tokens)
        macs += 2 * target_tokens * target_dim * ffn_dim
    if output_vocabulary is not None:
        macs += target_tokens * target_dim * output_vocabulary
    return 2 * macs


def _attention_parameters(query_dim: int, memory_dim: int, qkv_dim: int) -> int:
    """Four linear layers with bias: q and out on the query side, k and v on the memory side."""
    query = qkv_dim * query_dim + qkv_dim
    key_value = 2 * (qkv_dim * memory_dim + qkv_dim)
    output = query_dim * qkv_dim + query_dim
    return query + key_value + output


def _ffn_parameters(dim: int, ffn_dim: int) -> int:
    return (ffn_dim * dim + ffn_dim) + (dim * ffn_dim + dim)


def _attention_macs(query_dim: int, memory_dim: int, qkv_dim: int, queries: int, keys: int) -> int:
    linear = 2 * queries * query_dim * qkv_dim + 2 * keys * memory_dim * qkv_dim
    return linear + 2 * queries * keys * qkv_dim


def _embedding_parameters(
    arch: Architecture, source_vocabulary: int | None, target_vocabulary: int | None, share: str
) -> int:
    if share not in SHARING:
        raise UserError(f"share is {share!r}, allowed: {', '.join(SHARING)}")
    source_dim, target_dim = arch.encoder.embed_dim, arch.decoder.embed_dim
    if source_vocabulary is None and target_vocabulary is None:
        return 0
    if share == "all":
        if source_vocabulary is None or target_vocabulary not in (None, source_vocabulary):
            raise UserError(
                f"share is 'all', which needs one vocabulary, but the source vocabulary is "
                f"{source_vocabulary} and the target vocabulary {target_vocabulary}"
            )
        return source_vocabulary * max(source_dim, target_dim)
    if source_vocabulary is None or target_vocabulary is None:
        raise UserError(f"share is {share!r}, which needs a source and a target vocabulary")
    tables = 1 if share == "decoder" else 2
    return source_vocabulary * source_dim + tables * target_vocabulary * target_dim


def _pair(value: bool | tuple[bool, bool]) -> tuple[bool, bool]:
    return value if isinstance(value, tuple) else (value, value)
