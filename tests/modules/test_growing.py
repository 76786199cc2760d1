"""Keys and values that grow in place hold what concatenating would."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos.modules.growing import appended, picked


def steps(count: int, batch: int = 3, positions: int = 2, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, batch, 4, positions, 5, generator=rng)


def grown(given: torch.Tensor):
    cache = None
    for keys, values in given:
        cache = appended(cache, keys, values)
    return cache


def assert_holds(cache, keys: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    assert torch.equal(cache["prev_key"], torch.cat(keys, dim=2))
    assert torch.equal(cache["prev_value"], torch.cat(values, dim=2))


@pytest.mark.parametrize("grad", [False, True])
def test_as_concatenated(grad):
    given = steps(30)
    with torch.set_grad_enabled(grad):
        cache = grown(given)
    assert_holds(cache, list(given[:, 0]), list(given[:, 1]))
    assert ("buffer" in cache) is not grad, "autograd wants the earlier keys as they were"


@torch.no_grad()
def test_most_steps_write_in_place():
    given, cache, buffers = steps(40), None, set()
    for keys, values in given:
        cache = appended(cache, keys, values)
        buffers.add(cache["buffer"].data_ptr())
    assert len(buffers) < 6


@torch.no_grad()
def test_rows_are_picked_and_go_on():
    given, order = steps(5), torch.tensor([2, 0, 0, 1])
    before = grown(given[:4])
    after = picked(before, order)
    assert torch.equal(after["prev_key"], before["prev_key"][order])
    last = given[4][:, order]
    assert_holds(appended(after, *last), [*given[:4, 0][:, order], last[0]], [*given[:4, 1][:, order], last[1]])


@torch.no_grad()
def test_a_search_that_branches_or_goes_back():
    given, other = steps(4), steps(1, seed=1)[0]
    root = grown(given[:3])
    one, two = appended(root, *given[3]), appended(root, *other)
    assert_holds(one, [*given[:, 0]], [*given[:, 1]])
    assert_holds(two, [*given[:3, 0], other[0]], [*given[:3, 1], other[1]])
    back = {**one, **{name: one[name][:, :, :2] for name in ("prev_key", "prev_value")}}
    assert torch.equal(picked(back, torch.tensor([1]))["prev_key"], given[0, 0][1:2])
    assert_holds(appended(back, *other), [given[0, 0], other[0]], [given[0, 1], other[1]])
    assert_holds(one, [*given[:, 0]], [*given[:, 1]])


@torch.no_grad()
def test_views_that_somebody_put_there():
    given = steps(2)
    cache = {"prev_key": given[0, 0], "prev_value": given[0, 1]}
    assert_holds(appended(cache, *given[1]), [*given[:, 0]], [*given[:, 1]])
    assert torch.equal(picked(cache, torch.tensor([1, 1]))["prev_value"], given[0, 1][[1, 1]])
