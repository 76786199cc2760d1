"""Dense models to measure: of a supernet, of a search space alone, or of any dense checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.families import family_of

if TYPE_CHECKING:
    from fairseq_mos.models.opening import Opened


@dataclass(frozen=True)
class Subnets:
    """Where dense models come from.

    Attributes:
        space: the search space.
        build: architecture -> its dense model, in eval mode.
        vocabulary: entries that the output layer scores.
        origin: what the models are, for signatures.
    """

    space: SearchSpace
    build: Callable[[Architecture], nn.Module]
    vocabulary: int
    origin: str


def of_checkpoint(opened: Opened) -> Subnets:
    """Returns the extracted subnets of an opened supernet.

    Raises:
        UserError: no supernet, or dictionaries that are missing.
    """
    space, model = opened.space, opened.model
    return Subnets(space, model.extract, family_of(space).vocabulary(model), "supernet")


def of_space(space: SearchSpace, vocabulary: int = 32768, share: str = "all", device: str = "cpu") -> Subnets:
    """Returns subnets with random weights: sizes, FLOPs and latency do not depend on what weights say.

    Args:
        space: the search space.
        vocabulary: entries of the dictionary, special symbols included.
        share: which embeddings are shared: `all`, the `decoder`'s or `none`.
        device: `meta` builds models without storage.

    Raises:
        UserError: an impossible vocabulary.
    """
    random = family_of(space).random(vocabulary, share)

    def build(architecture: Architecture) -> nn.Module:
        with torch.device(device):
            return random(architecture)

    return Subnets(space, build, vocabulary, "random")
