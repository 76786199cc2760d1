"""Keys and values that grow by a position at each step of decoding, in place.

A cache is what fairseq's networks put into the incremental state: `prev_key` and `prev_value`, (batch, heads, length,
width). Here both are views of one `buffer` with room for further positions, (batch, 2, heads, room, width): a new
position is written into it, and rows are picked by copying one block each. Who replaces the views, or has no `buffer`,
is right too.
"""

from __future__ import annotations

import torch
from torch import Tensor

Cache = "dict[str, Tensor | None]"
_ROOM = 8
"""Steps that a new buffer has room for."""


def appended(cache: Cache | None, keys: Tensor, values: Tensor) -> Cache:
    """Returns a cache with further positions.

    Args:
        cache: the one before, or None; its buffer is written to if nobody has put another position there.
        keys: (batch, heads, positions, width).
        values: likewise.
    """
    if cache is not None and "buffer" not in cache or torch.is_grad_enabled():
        # Autograd wants the earlier keys as they were.
        if cache is not None:
            keys = torch.cat([cache["prev_key"], keys], dim=2)
            values = torch.cat([cache["prev_value"], values], dim=2)
        return {"prev_key": keys, "prev_value": values}
    past = 0 if cache is None else cache["prev_key"].shape[2]
    length = past + keys.shape[2]
    buffer = None if cache is None else cache["buffer"]
    if buffer is None or buffer.shape[3] < length or buffer.filled != past:
        batch, heads, _, width = keys.shape
        buffer = keys.new_empty(batch, 2, heads, length + max(_ROOM * keys.shape[2], length // 4), width)
        if past:
            buffer[:, 0, :, :past], buffer[:, 1, :, :past] = cache["prev_key"], cache["prev_value"]
    room = buffer.narrow(3, past, length - past)
    room.select(1, 0).copy_(keys)
    room.select(1, 1).copy_(values)
    return _views(buffer, length)


def picked(cache: Cache, order: Tensor) -> Cache:
    """Returns the rows of a cache in `order` (new batch)."""
    buffer = cache.get("buffer")
    if buffer is None or buffer.filled != cache["prev_key"].shape[2]:
        return {name: cache[name].index_select(0, order) for name in ("prev_key", "prev_value")}
    return _views(buffer.index_select(0, order), buffer.filled)


def _views(buffer: Tensor, length: int) -> Cache:
    # The tensor itself knows, so that two caches with one buffer (a search that branches) do not write over each other.
    buffer.filled = length
    keys, values = buffer.narrow(3, 0, length).unbind(1)
    return {"prev_key": keys, "prev_value": values, "buffer": buffer}
