"""What a search knows of an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairseq_mos.arch import Architecture

Values = Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """One evaluated architecture.

    Attributes:
        index: its place in the order of evaluation, from 0.
        architecture: the architecture.
        origin: largest, smallest, given, random, mutation, crossover, child or listed.
        values: costs and measured values by name, such as `params`, `flops`, `loss`; `raced` is 1 where the
            loss is an estimate from a part of the validation set.
    """

    index: int
    architecture: Architecture
    origin: str
    values: Values

    @property
    def full(self) -> bool:
        """Whether it was measured on the full validation set."""
        return not self.values.get("raced", 0)

    def to_dict(self) -> dict:
        """Returns the row of the log."""
        return {
            "index": self.index,
            "digest": self.architecture.digest(),
            "origin": self.origin,
            **self.values,
            "architecture": self.architecture.to_dict(),
        }
