"""Costs of an architecture that need no data: what constraints may name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.schema import FIRST
from fairseq_mos.search.quantities import CLOCK, COUNTS, QUANTITIES, cheap

if TYPE_CHECKING:
    from fairseq_mos.cost.predictor import LatencyPredictor


@dataclass(frozen=True)
class CostModel:
    """Costs of the dense subnets of one supernet.

    Attributes:
        counts: architecture -> the quantities that its family counts, such as `params` and `flops`.
        predictor: predicts `latency_ms`; None: there is no such cost.
        family: of the subnets.
    """

    counts: Callable[[Architecture], Mapping[str, float]]
    predictor: LatencyPredictor | None = None
    family: str = FIRST

    @property
    def names(self) -> tuple[str, ...]:
        """The costs that it knows, in the order of tables."""
        known = (q for q in cheap() if not q.families or self.family in q.families)
        return tuple(q.name for q in known if q.source != CLOCK or self.predictor is not None)

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Returns every cost of :attr:`names`."""
        counted = self.counts(arch)

        def value(name: str) -> float:
            source = QUANTITIES[name].source
            if source == COUNTS:
                return counted[name]
            return self.predictor.predict([arch])[0] if source == CLOCK else source(arch)

        return {name: value(name) for name in self.names}


def extreme(
    space: SearchSpace, costs: Callable[[Architecture], dict[str, float]], name: str, largest: bool
) -> tuple[Architecture, float]:
    """Returns the architecture with the least (or most) of a cost, and its value.

    Exact for costs that grow with every gene. A predicted latency need not: there, from the space's own
    extreme and the best of some random draws, single genes are changed as long as that helps.
    """
    sign = -1 if largest else 1
    end = space.largest() if largest else space.smallest()
    if QUANTITIES[name].monotone:
        return end, costs(end)[name]

    def value(genes: Sequence[int]) -> float:
        return sign * costs(space.from_genes(genes))[name]

    rng = random.Random("extreme")
    draws = [space.to_genes(space.sample(rng)) for _ in range(200)]
    best = min(
        (descend(space, start, value) for start in (space.to_genes(end), min(draws, key=value))),
        key=value,
    )
    architecture = space.from_genes(best)
    return architecture, costs(architecture)[name]


def descend(space: SearchSpace, genes: Sequence[int], value: Callable[[Sequence[int]], float]) -> Sequence[int]:
    """Changes single genes as long as that makes the value smaller."""
    least, before = value(genes), None
    while before is None or least < before:
        before = least
        for place, gene in enumerate(space.genes):
            for choice in gene.choices:
                changed = (*genes[:place], choice, *genes[place + 1 :])
                if (after := value(changed)) < least:
                    genes, least = changed, after
    return genes
