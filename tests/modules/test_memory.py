"""An encoder's output in another order reads as one whose tensors were picked at once."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos.modules.memory import Reordered, runs, sentences_of


def output() -> dict[str, list[torch.Tensor]]:
    rng = torch.Generator().manual_seed(0)
    return {
        "encoder_out": [torch.randn(4, 3, 2, generator=rng)],
        "encoder_padding_mask": [torch.rand(3, 4, generator=rng) < 0.3],
        "encoder_states": [torch.randn(4, 3, 2, generator=rng) for _ in range(2)],
        "src_tokens": [],
        "src_lengths": [torch.tensor([[4], [3], [2]])],
    }


def picked(out: dict, order: torch.Tensor) -> dict:
    second = ("encoder_out", "encoder_states")
    return {name: [t.index_select(1 if name in second else 0, order) for t in list_] for name, list_ in out.items()}


def assert_equal(one, other: dict) -> None:
    assert list(one) == list(other)
    for name, tensors in other.items():
        assert len(one[name]) == len(tensors)
        assert all(map(torch.equal, one[name], tensors)), name


READERS = {
    "getitem": lambda out: out,
    "dict": dict,
    "unpacked": lambda out: {**out},
    "items": lambda out: dict(out.items()),
    "values": lambda out: dict(zip(out, out.values())),
    "get": lambda out: {name: out.get(name) for name in out},
}


@pytest.mark.parametrize("reader", READERS)
def test_reads_as_if_picked(reader):
    first, second = torch.tensor([0, 0, 2, 2, 1]), torch.tensor([4, 3, 3, 0])
    found = Reordered(output(), first).reordered(second)
    assert isinstance(found, dict) and found.get("nothing") is None
    assert_equal(READERS[reader](found), picked(picked(output(), first), second))


def test_a_replaced_entry_stays():
    """As where somebody changes what the encoder said between two steps."""
    order = torch.tensor([2, 0])
    found = Reordered(output(), order)
    found["encoder_out"] = [torch.zeros(4, 2, 2)]
    expected = {**picked(output(), order), "encoder_out": [torch.zeros(4, 2, 2)]}
    assert_equal(found, expected)
    memory, padding = sentences_of(found)
    assert torch.equal(memory, torch.zeros(4, 2, 2)) and torch.equal(padding, expected["encoder_padding_mask"][0])
    assert_equal(found.reordered(torch.tensor([1])), picked(expected, torch.tensor([1])))


@pytest.mark.parametrize(
    ("rows", "sentences", "group"),
    [
        ([0, 0, 1, 1, 2, 2], [0, 1, 2], 2),
        ([2, 2, 2, 0, 0, 0], [2, 0], 3),
        ([1, 1, 1, 1], [1], 4),
        ([0, 1, 2], [0, 1, 2], 1),
        ([0, 0, 1], [0, 0, 1], 1),
        ([0, 1, 0, 1], [0, 1, 0, 1], 1),
        ([0, 0, 1, 2, 2, 2], [0, 0, 1, 2, 2, 2], 1),
        ([], [], 1),
    ],
)
def test_runs(rows, sentences, group):
    found, size = runs(torch.tensor(rows, dtype=torch.long))
    assert (found.tolist(), size) == (sentences, group)
    assert found.repeat_interleave(size).tolist() == rows


def test_sentences_are_there_once():
    whole, rows = output(), torch.tensor([2, 2, 1, 1])
    memory, padding = sentences_of(Reordered(whole, rows))
    assert torch.equal(memory, whole["encoder_out"][0][:, [2, 1]])
    assert torch.equal(padding, whole["encoder_padding_mask"][0][[2, 1]])
    assert sentences_of(whole)[0] is whole["encoder_out"][0]
