"""Sinusoidal positions computed for the active width."""

from __future__ import annotations

from fairseq.modules import SinusoidalPositionalEmbedding
from fairseq.utils import make_positions
from torch import Tensor, nn


class SinusoidalPositions(nn.Module):
    """fairseq's sinusoids at any width.

    They are computed for the width that is asked for, not cut from a wider table: half of the channels are
    sines and half cosines at every width (HAT's cut leaves 320 sines and 192 cosines at width 512).

    Args:
        padding_idx: padding tokens get a zero vector.
    """

    def __init__(self, padding_idx: int):
        super().__init__()
        self.padding_idx = padding_idx
        self._tables: dict[int, Tensor] = {}

    def forward(self, tokens: Tensor, width: int, like: Tensor, newest_only: bool = False) -> Tensor:
        """Returns the positions of tokens (batch, length): (batch, length, width).

        Args:
            tokens: token numbers.
            width: active embed width.
            like: a tensor of the wanted dtype and device.
            newest_only: only the last position, (1, 1, width), as in incremental decoding.
        """
        table = self._table(width, self.padding_idx + 1 + tokens.shape[1], like)
        if newest_only:
            return table[self.padding_idx + tokens.shape[1]].view(1, 1, -1)
        positions = make_positions(tokens, self.padding_idx)
        return table.index_select(0, positions.view(-1)).view(*tokens.shape, -1)

    def _table(self, width: int, rows: int, like: Tensor) -> Tensor:
        table = self._tables.get(width)
        if table is None or table.shape[0] < rows or (table.device, table.dtype) != (like.device, like.dtype):
            rows = max(rows, 256 if table is None else table.shape[0])
            table = SinusoidalPositionalEmbedding.get_embedding(rows, width, self.padding_idx).to(like)
            self._tables[width] = table
        return table

    def __getstate__(self):
        return {**self.__dict__, "_tables": {}}
