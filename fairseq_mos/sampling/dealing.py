"""Whose batch it is, where the architectures of an update have batches of their own."""

from __future__ import annotations


class Dealer:
    """Deals the batches of an update out to its architectures, equally many to each.

    They are numbered as one process would take them: at each place of an accumulation (`--update-freq`) those of all
    ranks. So several ranks train what one process with more batches trains.

    Args:
        number: architectures of an update.
        places: batches of an update, of this rank.
        rank: this process, from 0.
        ranks: processes; `places * ranks` is a multiple of `number`.
    """

    def __init__(self, number: int, places: int, rank: int = 0, ranks: int = 1):
        self._number, self._rank, self._ranks = number, rank, ranks
        self._share = places * ranks // number
        self._last = (-1, 0)

    def next(self, update: int) -> int:
        """Returns the number of the architecture, from 0, that this rank's next batch of an update belongs to.

        With fp16 an update that overflows begins again: after its last batch comes its first.
        """
        last, place = self._last
        place = place + 1 if last == update else 0
        self._last = (update, place)
        return (place * self._ranks + self._rank) // self._share % self._number
