"""Modules that keep in eval mode what they compute from their parameters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fairseq_mos.modules.block import Block


def _as_a_subnet_s(value: object) -> object:
    """Makes a tensor require a gradient, as a subnet's parameters do, although nothing here has one.

    By that torch chooses how to multiply an input that is not contiguous, and so how it rounds.
    """
    if not isinstance(value, Tensor):
        return value
    # A frozen parameter itself stays frozen.
    value = value.detach() if isinstance(value, nn.Parameter) and not value.requires_grad else value
    return value.requires_grad_()


class _Unchanged(threading.local):
    """Whether this thread is in :func:`unchanged`."""

    now = False


_unchanged = _Unchanged()


@contextmanager
def unchanged(known: bool = True) -> Iterator[None]:
    """Within the block, kept values are used without asking whether parameters have changed.

    For the later steps of a decoding: keys and values of its earlier steps come from the same parameters.

    Args:
        known: False: nothing is different in the block.
    """
    before, _unchanged.now = _unchanged.now, known
    try:
        yield
    finally:
        _unchanged.now = before


class Elastic(Block, nn.Module):
    """A module whose eval-mode results are kept until its parameters, its size or its mode change.

    The kept values are a plain attribute: they are in no state dict, and pickling and `copy.deepcopy` (fairseq's
    EMA) leave them out.
    """

    def __init__(self):
        super().__init__()
        self._kept: dict[str | None, tuple] = {}

    def materialised(self, compute: Callable[[], object], *inputs: object, key: str | None = None):
        """Returns `compute()`, or its kept value while nothing that it depends on has changed.

        Args:
            compute: makes the value from the parameters and `inputs`.
            inputs: further objects that the value depends on, compared by identity.
            key: which of several values of this module.
        """
        if self.training or torch.is_grad_enabled():
            return compute()
        kept = self._kept.get(key)
        if kept is not None and _unchanged.now:
            return kept[2]
        state = [(p.data_ptr(), p._version) for p in self.sources(key)]
        if kept is not None and kept[0] == state and all(a is b for a, b in zip(kept[1], inputs)):
            return kept[2]
        value = compute()
        value = tuple(map(_as_a_subnet_s, value)) if isinstance(value, tuple) else _as_a_subnet_s(value)
        self._kept[key] = (state, inputs, value)
        return value

    def remembered(self):
        """Returns the kept value within :func:`unchanged`, if there is one."""
        if not _unchanged.now or self.training or torch.is_grad_enabled():
            return None
        kept = self._kept.get(None)
        return None if kept is None else kept[2]

    def signature(self) -> Hashable:
        # Nothing would do for most blocks, but not where the active size is this one's own.
        raise TypeError(f"{type(self).__name__} does not define signature()")

    def sources(self, key: str | None = None) -> Iterable[Tensor]:
        """The parameters that the kept value is computed from."""
        # Asked for at every call of a leaf, where walking over modules would be felt.
        return [parameter for parameter in self._parameters.values() if parameter is not None]

    def drop_kept(self) -> None:
        """Forgets the kept values."""
        # Not a new dictionary: setting an attribute of a module is slow, and an activation asks every leaf.
        self._kept.clear()

    def train(self, mode: bool = True):
        self.drop_kept()
        return super().train(mode)

    def _apply(self, *args, **kwargs):
        self.drop_kept()
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs):
        self.drop_kept()
        return super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self):
        return {**self.__dict__, "_kept": {}}
