"""Architectures as vectors: what a router reads.

An encoding is a function in :data:`ENCODINGS`; adding one there is all that a new one needs. All values
are divided by the largest that the space allows, so that they lie in [0, 1] for every space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairseq_mos.arch.architecture import Architecture, memory_states
from fairseq_mos.arch.reading import listed
from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.errors import UserError


def encode(space: SearchSpace, arch: Architecture, kind: str) -> tuple[float, ...]:
    """Returns the architecture as a vector of :func:`encoding_dim` values in [0, 1].

    Args:
        space: the space whose maxima normalise the values.
        arch: an architecture of that space.
        kind: a key of :data:`ENCODINGS`.

    Raises:
        UserError: an unknown kind.
    """
    return _encoding(kind)(space, arch)


def encoding_dim(space: SearchSpace, kind: str) -> int:
    """Returns the length of the vectors of :func:`encode`, the same for all architectures of a space.

    Raises:
        UserError: an unknown kind.
    """
    return len(encode(space, space.largest(), kind))


def encode_mean(space: SearchSpace, arch: Architecture) -> tuple[float, ...]:
    """Returns the 10 features of MoS and HAT's latency predictor: widths, depths, means over active layers.

    Order: encoder embed, layers, mean FFN, mean heads; decoder embed, layers, mean FFN, mean
    self-attention heads, mean cross-attention heads, mean memory states (arbitrary attention as 1, 2, 3).
    """
    features = []
    for embed_dim, layers, lists in _normalised(space, arch):
        features += [embed_dim, layers]
        features += [sum(values) / len(values) for values in lists]
    return tuple(features)


def encode_full(space: SearchSpace, arch: Architecture) -> tuple[float, ...]:
    """Returns every layer's values in the order of `space.genes`; those of inactive layers are 0.

    There are 2 + 2 * encoder layers + 2 + 4 * decoder layers of them: 40 for 6+6 layers.
    """
    depths = (space.super_encoder_layers, space.super_decoder_layers)
    features = []
    for depth, (embed_dim, layers, lists) in zip(depths, _normalised(space, arch)):
        features += [embed_dim, layers]
        for values in lists:
            features += values + [0.0] * (depth - len(values))
    return tuple(features)


ENCODINGS: dict[str, Callable[[SearchSpace, Architecture], tuple[float, ...]]] = {
    "mean": encode_mean,
    "full": encode_full,
}
"""Name of the encoding (`--arch-encoding`) -> function of space and architecture."""


def _encoding(kind: str) -> Callable[[SearchSpace, Architecture], tuple[float, ...]]:
    if kind not in ENCODINGS:
        raise UserError(f"architecture encoding is {kind!r}, allowed: {listed(ENCODINGS)}")
    return ENCODINGS[kind]


def _normalised(space: SearchSpace, arch: Architecture) -> list[tuple[float, float, list[list[float]]]]:
    """Returns for each side: width, depth, and the lists of its active layers, divided by the maxima."""
    encoder, decoder = arch.encoder, arch.decoder

    def divided(values: Sequence[int], choices: Sequence[int]) -> list[float]:
        return [value / max(choices) for value in values]

    states = [memory_states(value) for value in decoder.arbitrary_attention]
    return [
        (
            encoder.embed_dim / space.max_encoder_embed_dim,
            encoder.layers / space.max_encoder_layers,
            [
                divided(encoder.ffn_dims, space.encoder.ffn_dims),
                divided(encoder.self_attention_heads, space.encoder.self_attention_heads),
            ],
        ),
        (
            decoder.embed_dim / space.max_decoder_embed_dim,
            decoder.layers / space.max_decoder_layers,
            [
                divided(decoder.ffn_dims, space.decoder.ffn_dims),
                divided(decoder.self_attention_heads, space.decoder.self_attention_heads),
                divided(decoder.cross_attention_heads, space.decoder.cross_attention_heads),
                divided(states, [memory_states(value) for value in space.decoder.arbitrary_attention]),
            ],
        ),
    ]
