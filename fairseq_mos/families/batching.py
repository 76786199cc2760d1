"""Batches of sentences of like lengths, on both sides, so that little of what is computed is padding."""

from __future__ import annotations

from collections.abc import Sequence

Lengths = Sequence[tuple[int, int]]
"""Tokens of source and target of each sentence."""


def batches_by_length(lengths: Lengths, max_tokens: int, overhead: int) -> list[list[int]]:
    """Groups sentences by their lengths.

    Sorted by the source alone, as fairseq does it, a batch holds targets of any length. Here sentences are cut
    into strips by the source's length, and sorted by the target's within each; of several numbers of strips,
    the cheapest one is taken: many have little padding, few make large batches.

    Args:
        lengths: of each sentence.
        max_tokens: sentences of a batch times its longest side, at most; a longer sentence is alone.
        overhead: what a further batch costs, in padded tokens: work that does not depend on its size.

    Returns:
        The sentences' numbers, each once; the same for the same lengths.
    """
    order = sorted(range(len(lengths)), key=lambda i: (*lengths[i], i))
    found, strips = [], 1
    while not found or strips <= len(order):
        batches = []
        for part in range(strips):
            strip = order[part * len(order) // strips : (part + 1) * len(order) // strips]
            batches += _filled(sorted(strip, key=lambda i: (*lengths[i][::-1], i)), lengths, max_tokens)
        found.append(batches)
        strips *= 2
    return min(found, key=lambda batches: sum(padded_tokens(batch, lengths) + overhead for batch in batches))


def padded_tokens(batch: Sequence[int], lengths: Lengths) -> int:
    """Returns how many tokens a batch has on both sides, with its padding."""
    return len(batch) * sum(max(side) for side in zip(*(lengths[i] for i in batch)))


def _filled(order: Sequence[int], lengths: Lengths, max_tokens: int) -> list[list[int]]:
    batches: list[list[int]] = []
    longest = 0
    for sentence in order:
        longest = max(longest, *lengths[sentence])
        if not batches or (len(batches[-1]) + 1) * longest > max_tokens:
            batches.append([])
            longest = max(lengths[sentence])
        batches[-1].append(sentence)
    return batches
