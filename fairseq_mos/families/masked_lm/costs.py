"""Parameters and FLOPs of a dense masked language model, from its sizes alone.

Conventions: FLOPs are 2 x the multiply-accumulates of one pass of one sentence of 30 tokens without the vocabulary's
output; neighbouring bottlenecks are one, as extraction merges them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.costs import Cost, attention, counted, feed_forward, linear, norm
from fairseq_mos.families.masked_lm.schema import layers

PUBLISHED_VOCABULARY, PUBLISHED_POSITIONS = 30_522, 512
"""BERT's; it has two token types, too."""


@dataclass(frozen=True)
class Sizing:
    """What costs depend on besides the architecture.

    Attributes:
        tokens: length of the sentence.
        vocabulary: entries of the dictionary, special symbols included; None: no embeddings.
        positions: rows of the table of positions.
        normalize_before: pre-norm, which adds a final layer norm.
        merged: neighbouring bottlenecks are one.
        token_types: rows of a table of token types; fairseq's models have none.
    """

    tokens: int = 30
    vocabulary: int | None = None
    positions: int = 514
    normalize_before: bool = False
    merged: bool = True
    token_types: int = 0


def costs(arch: Architecture, sizing: Sizing) -> Iterator[Cost]:
    """Yields what each part of the dense subnet costs, the head of the masked language model among them."""
    tokens, width = sizing.tokens, arch.encoder.embed_dim
    yield from (norm(width) for _ in range(1 + sizing.normalize_before))
    for sizes in layers(arch, sizing.merged):
        for side in ((sizes.entry, sizes.width), (sizes.width, sizes.leave)):
            if None not in side:
                yield linear("bottleneck", *side, tokens)
        yield attention(sizes.width, sizes.width, sizes.qkv_dim, tokens, tokens)
        yield feed_forward(sizes.width, sizes.ffn_dim, tokens)
        yield from (norm(sizes.width) for _ in range(2))
    if sizing.vocabulary is not None:
        yield Cost("embedding", (sizing.vocabulary + sizing.positions + sizing.token_types) * width)
        # The head's own layer is a part of the output: nobody runs one without the other.
        yield linear("output", width, width, tokens)
        yield Cost("output", 2 * width)
        yield Cost("output", sizing.vocabulary, tokens * sizing.vocabulary * width)


def published(arch: Architecture) -> int:
    """Returns the parameters as the published searches count them, whose size windows mean these.

    BERT's tables (30,522 entries, 512 positions, two token types), neighbouring bottlenecks as one, the head's own
    linear layer and norm; no bias of the output, no experts, no routers. Of v1's two published extremes the smaller one
    (34,361,328) says that the head's norm is counted at the width of the last layer.
    """
    sizing = Sizing(vocabulary=PUBLISHED_VOCABULARY, positions=PUBLISHED_POSITIONS, token_types=2)
    last = layers(arch, True)[-1].width
    return counted(costs(arch, sizing)).total - PUBLISHED_VOCABULARY - 2 * (arch.encoder.embed_dim - last)
