"""An encoder that others have trained, under the names that ours has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Field(NamedTuple):
    """A size or an option: what the source calls it, what our options call it, and its value."""

    theirs: str
    ours: str
    value: object


@dataclass(frozen=True)
class Pretrained:
    """A trained encoder.

    Attributes:
        where: it comes from, for messages.
        fields: sizes and options that ours must share.
        weights: by our names, without experts and bottlenecks; positions begin after the padding's number.
        entries: fairseq's names of the vocabulary's entries, by row; None where only their order is known, which then
            must be the dictionary's.
    """

    where: str
    fields: tuple[Field, ...]
    weights: Mapping[str, Tensor]
    entries: tuple[str, ...] | None
