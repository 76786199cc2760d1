"""What a decoder attends to, kept once for each sentence however many hypotheses of it there are.

Beam search repeats a sentence's encoder output for each of its hypotheses, and picks rows of it anew at every step,
though all hypotheses of a sentence read the same. Here rows are numbers of sentences, until somebody reads a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BATCH_SECOND = {"encoder_out", "encoder_states"}


class Reordered(dict):
    """An encoder's output in another order of its sentences; a tensor is picked when it is read.

    Args:
        whole: the output, a dictionary of lists of tensors.
        rows: the sentence of each row (batch); may repeat and leave out some.

    Attributes:
        whole: as given, or None once an entry was replaced, which holds for the rows alone.
        rows: as given.
    """

    def __init__(self, whole: dict[str, list[Tensor]], rows: Tensor):
        super().__init__(whole)
        self.whole: dict[str, list[Tensor]] | None = whole
        self.rows = rows
        self._unread = set(whole)

    def reordered(self, order: Tensor) -> Reordered:
        """Returns its rows in `order`."""
        if self.whole is None:
            return Reordered(dict(self.items()), order)
        return Reordered(self.whole, self.rows.index_select(0, order))

    def __getitem__(self, name: str) -> list[Tensor]:
        if name in self._unread:
            self._unread.remove(name)
            dimension = 1 if name in _BATCH_SECOND else 0
            picked = [tensor.index_select(dimension, self.rows) for tensor in super().__getitem__(name)]
            super().__setitem__(name, picked)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: list[Tensor]) -> None:
        self.values()
        self.whole = None
        super().__setitem__(name, value)

    # A dictionary's own would not ask __getitem__; for a class with this one, `dict(...)` and `{**...}` do.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def get(self, name: str, default=None):
        return self[name] if name in self else default  # noqa: SIM401 (this is what defines get)

    def values(self):
        return [self[name] for name in self]

    def items(self):
        return [(name, self[name]) for name in self]


def runs(rows: Tensor) -> tuple[Tensor, int]:
    """Finds the sentences in rows (batch) that keep a sentence's hypotheses together, equally many of each.

    Returns:
        The sentence of each group of rows (sentences) and the rows of a group; for other rows themselves and 1.
    """
    if rows.is_meta or rows.numel() == 0:
        return rows, 1
    sentences, counts = torch.unique_consecutive(rows, return_counts=True)
    group = len(rows) // len(sentences)
    return (sentences, group) if bool(counts.eq(group).all()) else (rows, 1)


def whole_of(encoder_out: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    """Returns an encoder's output as it is held, whatever its rows."""
    whole = encoder_out.whole if isinstance(encoder_out, Reordered) else None
    return encoder_out if whole is None else whole


def sentences_of(encoder_out: dict[str, list[Tensor]]) -> tuple[Tensor, Tensor | None]:
    """Returns the memory (source length, sentences, channels) and its padding (sentences, source length), if any.

    Rows that are alike and side by side are there once, where all groups of such are equally large.
    """
    whole = whole_of(encoder_out)
    memory, padding = whole["encoder_out"][0], (whole["encoder_padding_mask"] or [None])[0]
    if whole is not encoder_out:
        sentences, _ = runs(encoder_out.rows)
        memory = memory.index_select(1, sentences)
        padding = None if padding is None else padding.index_select(0, sentences)
    return memory, padding


def rows_of(sentences: int, batch: int, device: torch.device) -> Tensor:
    """Returns the sentence of each row (batch), where each has equally many."""
    rows = torch.arange(sentences, device=device)
    return rows if sentences == batch else rows.repeat_interleave(batch // sentences)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two orders of a batch are known to be equal."""
    return not one.is_meta and torch.equal(one, other)
