"""Batches of like lengths: complete, within the limit, with little padding."""

from __future__ import annotations

import random

import pytest

from fairseq_mos.families.batching import batches_by_length, padded_tokens


def independent(count: int, seed: int = 1) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    return [(rng.randint(5, 25), rng.randint(5, 25)) for _ in range(count)]


def padding(batches, lengths) -> float:
    return sum(padded_tokens(batch, lengths) for batch in batches) / sum(map(sum, lengths)) - 1


@pytest.mark.parametrize("count", [1, 2, 7, 300])
@pytest.mark.parametrize("max_tokens", [25, 100, 512])
def test_every_sentence_once_and_within_the_limit(count, max_tokens):
    lengths = independent(count)
    batches = batches_by_length(lengths, max_tokens, 64)
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    for batch in batches:
        assert len(batch) * max(max(lengths[i]) for i in batch) <= max_tokens


def test_a_sentence_above_the_limit_is_alone():
    assert sorted(batches_by_length([(3, 3), (40, 2), (3, 3)], 10, 64)) == [[0, 2], [1]]


def test_padded_tokens_counts_both_sides():
    assert padded_tokens([0, 2], [(3, 7), (100, 100), (5, 2)]) == 2 * (5 + 7)


def test_equal_lengths_need_no_padding_and_few_batches():
    batches = batches_by_length([(8, 4)] * 64, 128, 64)
    assert [len(batch) for batch in batches] == [16] * 4


def test_targets_are_of_like_lengths_too():
    lengths = independent(1000)
    by_source = sorted(range(1000), key=lambda i: lengths[i])
    plain = [by_source[i : i + 20] for i in range(0, 1000, 20)]
    # Sorting by one side adds more than a fifth.
    assert padding(plain, lengths) > 0.2
    batches = batches_by_length(lengths, 512, 64)
    assert padding(batches, lengths) < 0.12 and len(batches) < 60


def test_the_same_lengths_give_the_same_batches():
    assert batches_by_length(independent(200), 300, 64) == batches_by_length(independent(200), 300, 64)


def test_where_a_batch_costs_much_there_are_few():
    lengths = independent(1000)
    assert len(batches_by_length(lengths, 4096, 4096)) <= 8 < len(batches_by_length(lengths, 4096, 1))
