"""Batches of an update and whose they are."""

from __future__ import annotations

import pytest

from fairseq_mos.sampling.dealing import Dealer


@pytest.mark.parametrize(
    ("number", "batches", "ranks"), [(3, 6, 2), (3, 12, 2), (6, 6, 2), (4, 8, 8), (16, 16, 8), (1, 3, 1)]
)
def test_ranks_deal_as_one_process_does(number, batches, ranks):
    whole = Dealer(number, batches)
    one = [whole.next(0) for _ in range(batches)]
    assert [one.count(which) for which in range(number)] == [batches // number] * number
    assert one == sorted(one)
    dealers = [Dealer(number, batches // ranks, rank, ranks) for rank in range(ranks)]
    assert [dealer.next(5) for _ in range(batches // ranks) for dealer in dealers] == one


def test_every_update_begins_with_the_first():
    dealer = Dealer(3, 3)
    updates = [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 5, 5, 5]
    assert [dealer.next(update) for update in updates] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 2]
