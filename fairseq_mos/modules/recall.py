"""What architectures that are evaluated one after the other have in common: outputs of layers, computed once.

The output of a layer depends on the batch, on the layer's weights and on all layers before it. Where the active
architecture makes the same of all of these, the output is the same, to the last bit. Weights that a router mixes or
modulation scales depend on the whole architecture's encoding: with them, what is shared ends before the first one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Step = tuple[nn.Module, str, Hashable]
"""A layer, what of it is meant, and what its output depends on besides the batch."""

ATTEND, LAYER = "attend", "layer"
"""A layer's self-attention alone; the whole layer."""


class Recall:
    """Keeps outputs of layers for the architectures that will need them, within a limit.

    Which these are is told by :meth:`expect`; of others nothing is kept. Where there is no room for all, those stay
    that are needed soonest.

    Args:
        limit: bytes that are kept, at most.

    Attributes:
        held: bytes that are kept.
        computed: outputs that were asked for and had to be computed.
        recalled: those that had not.
    """

    def __init__(self, limit: int):
        self.limit, self.held = limit, 0
        self.computed = self.recalled = 0
        self._nodes: dict[Hashable, int] = {}
        self._uses: dict[int, deque[int]] = {}
        self._kept: dict[int, dict[Hashable, Any]] = {}
        self._sizes: dict[int, int] = {}
        self._now = -1
        self._path: dict[tuple[nn.Module, str], int] = {}
        self._batch: Hashable = None

    def expect(self, passes: Iterable[Iterable[Step]]) -> None:
        """Forgets everything, and tells what will be computed.

        Args:
            passes: the steps of each architecture, in the order in which they will be evaluated.
        """
        self._nodes, self._uses, self._kept, self._sizes, self.held, self._now = {}, {}, {}, {}, 0, -1
        for place, steps in enumerate(passes):
            for node in self._numbered(steps).values():
                self._uses.setdefault(node, deque()).append(place)

    @contextmanager
    def during(self, steps: Iterable[Step], place: int | None = None) -> Iterator[None]:
        """Shares outputs while one architecture is evaluated.

        Args:
            steps: its own.
            place: its place among those that are expected; None: it is not among them.
        """
        self._path = self._numbered(steps)
        layers = {layer for layer, _ in self._path}
        self._now = self._now if place is None else place
        for layer in layers:
            layer.recall = self
        try:
            yield
        finally:
            for layer in layers:
                layer.recall = None
            self._path, self._batch = {}, None
            for node in [node for node in self._kept if self._next_use(node) is None]:
                self._drop(node)

    def at(self, batch: Hashable) -> None:
        """Says which batch comes next."""
        self._batch = batch

    def __call__(self, layer: nn.Module, part: str, compute: Callable[[], Any], *how: Hashable) -> Any:
        """Returns the output of a layer, or of a part of it, for the batch: `compute()`, or what was kept of it.

        Args:
            layer: the layer.
            part: what of it.
            compute: makes the output.
            how: what it depends on besides batch and architecture.
        """
        node = self._path.get((layer, part))
        if node is None:
            return compute()
        kept = self._kept.get(node)
        key = (self._batch, how)
        if kept is not None and key in kept:
            self.recalled += 1
            return kept[key]
        self.computed += 1
        value = compute()
        if self._room(node, size := _bytes(value)):
            self._kept.setdefault(node, {})[key] = value
            self._sizes[node] = self._sizes.get(node, 0) + size
            self.held += size
        return value

    def _numbered(self, steps: Iterable[Step]) -> dict[tuple[nn.Module, str], int]:
        return {(layer, part): self._nodes.setdefault(key, len(self._nodes)) for layer, part, key in steps}

    def _next_use(self, node: int) -> int | None:
        """Returns the place of the next architecture after this one that needs a node."""
        uses = self._uses.get(node)
        while uses and uses[0] <= self._now:
            uses.popleft()
        return uses[0] if uses else None

    def _room(self, node: int, size: int) -> bool:
        """Makes room for what a node needs, at the cost of what is needed later; says whether there is enough."""
        soon = self._next_use(node)
        if soon is None:
            return False
        while self.held + size > self.limit:
            last = max(self._kept, key=lambda other: self._next_use(other) or self._now, default=None)
            if last is None or (self._next_use(last) or soon) <= soon:
                return False
            self._drop(last)
        return True

    def _drop(self, node: int) -> None:
        del self._kept[node]
        self.held -= self._sizes.pop(node)


def _bytes(value: Any) -> int:
    """Returns how much memory an output takes; a part of a larger tensor counts as a whole one."""
    if isinstance(value, Tensor):
        return value.untyped_storage().nbytes()
    return sum(map(_bytes, value)) if isinstance(value, (tuple, list)) else 0
