"""What every part of a network can do, from a leaf to a stack: be set to sizes, and become dense.

Each block has an `activate(...)` that takes its own sizes and hands its parts theirs, and the :meth:`Block.dense` of
here, which asks its parts for theirs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_mos.modules.recall import Recall, Step


class Block:
    """Mixed into modules whose parts are blocks (or plain modules, which are dense already)."""

    recall: Recall | None = None
    """What keeps a layer's outputs for other architectures, while several are evaluated."""

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yields name and module of each part that takes part in the active architecture."""
        yield from self.named_children()  # type: ignore[attr-defined]

    def active_modules(self) -> Iterator[nn.Module]:
        """Yields itself and all modules below that take part in the active architecture."""
        yield self  # type: ignore[misc]
        for _, part in self.parts():
            yield from part.active_modules() if isinstance(part, Block) else part.modules()

    def signature(self) -> Hashable:
        """Returns what the active architecture makes of it: where that is equal, equal inputs give equal outputs.

        In eval mode, with the same parameters; of an elastic block.
        """
        return tuple(part.signature() for _, part in self.parts() if isinstance(part, Block))

    def steps(self) -> Iterable[Step]:
        """Returns what of a pass other architectures can use, see :mod:`fairseq_mos.modules.recall`: nothing."""
        return ()

    def dense(self) -> Iterator[tuple[str, Tensor]]:
        """Yields name and value of each tensor of the equal dense block; of an elastic network, in eval mode."""
        for name, part in self.parts():
            if isinstance(part, Block):
                prefix = "" if isinstance(part, Inline) else f"{name}."
                yield from ((prefix + key, value) for key, value in part.dense())


class Inline(Block, nn.Module):
    """A block whose tensors have the names in files that they would have in its parent.

    So the feed-forward block is a module that another kind can replace, while checkpoints name its weights as
    fairseq's layers do. The parent calls :func:`adopt`.
    """

    def state_dict(self, *args, destination=None, prefix="", keep_vars=False):
        prefix = prefix[: prefix[:-1].rfind(".") + 1]
        return super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)


def adopt(parent: nn.Module, name: str) -> None:
    """Lets `parent` read the tensors of its :class:`Inline` part `name` under its own names."""
    children = tuple(dict(getattr(parent, name).named_children()))

    def rename(state_dict, prefix, *_) -> None:
        for key in list(state_dict):
            if key.startswith(prefix) and key[len(prefix) :].split(".")[0] in children:
                state_dict[f"{prefix}{name}.{key[len(prefix) :]}"] = state_dict.pop(key)

    parent._register_load_state_dict_pre_hook(rename)


@torch.no_grad()
def collapse(model: Block) -> dict[str, Tensor]:
    """Returns the state dict of the dense network that equals the active architecture of `model`, in eval mode.

    New tensors, without experts and routers. A table that several parts share is there under all names, as one tensor.
    """
    made: dict[int, tuple[Tensor, Tensor]] = {}
    state = {}
    for name, value in model.dense():
        # The original is kept beside its copy: a freed tensor's id may come again.
        if id(value) not in made:
            made[id(value)] = (value, value.detach().clone(memory_format=torch.contiguous_format))
        state[name] = made[id(value)][1]
    return state
