"""Products of sizes that the time of an encoder is close to linear in."""

from __future__ import annotations

from collections.abc import Sequence

MEAN_NAMES = ("embed_dim", "ffn_ratio", "attention_heads", "layers", "hidden_dim")
"""Of widths, depth and means over layers; the last one in spaces with bottlenecks alone."""


def products(means: Sequence[float]) -> list[float]:
    """Extends :data:`MEAN_NAMES` by what layers of that width multiply: attention, feed-forward block, heads' work."""
    width, ratio, heads, layers = means[:4]
    stream = means[4] if len(means) > 4 else width
    return [*means, layers * stream, layers * heads, layers * stream * stream, layers * stream * width * ratio]
