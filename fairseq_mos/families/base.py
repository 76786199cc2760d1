"""What the rest of the package asks of a model family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.costs import VOCABULARY, Cost, counted
from fairseq_mos.arch.schema import Schema


class Family:
    """A kind of models: its shape, what it costs, and what it is run with.

    A family is one object of a subclass; what is heavy is imported inside its methods.

    Attributes:
        schema: the shape of its networks; its name is the family's.
        mean_names: names of :func:`fairseq_mos.cost.features.mean_features`, columns of tables.
    """

    schema: Schema
    mean_names: tuple[str, ...]

    def sizing(self, **options) -> Any:
        """Returns what costs depend on besides the architecture: lengths, vocabularies, options of the model.

        Raises:
            UserError: options that contradict each other.
        """
        raise NotImplementedError

    def sizing_of(self, model) -> Any:
        """Returns the sizing of a model."""
        raise NotImplementedError

    def costs(self, arch: Architecture, sizing: Any) -> Iterator[Cost]:
        """Yields what each part of the dense subnet costs."""
        raise NotImplementedError

    def counts(self, arch: Architecture, sizing: Any = None) -> dict[str, int]:
        """Returns `params`, `params_no_embed` and `flops` (2 x MACs of one pass of one sentence) of the dense subnet.

        FLOPs are without the output layer; parameters are without embeddings where no vocabulary is given.
        """
        costs = list(self.costs(arch, sizing or self.sizing()))
        counts = counted(costs)
        flops = 2 * sum(cost.macs for cost in costs if cost.kind not in VOCABULARY)
        return {"params": counts.total, "params_no_embed": counts.no_embed, "flops": flops}

    def flops(self, arch: Architecture) -> int:
        """Returns the FLOPs of :meth:`counts`."""
        return self.counts(arch)["flops"]

    def products(self, means: Sequence[float], depths: Sequence[int]) -> list[float]:
        """Extends means over layers by what the time of a pass is close to linear in.

        Args:
            means: see :func:`fairseq_mos.cost.features.mean_features`.
            depths: most layers of each stack of the search space.
        """
        return list(means)
