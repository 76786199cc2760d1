"""Costs of an architecture that need no model to run: what constraints may name."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.families.translation.costs import flops, parameters

if TYPE_CHECKING:
    from fairseq_mos.cost.predictor import LatencyPredictor

COSTS = {
    "params": "parameters, all of them",
    "params_no_embed": "parameters without embeddings and output layer",
    "flops": "floating-point operations (2 x MACs) of one sentence of 30/30 tokens, without the output layer",
    "latency_ms": "predicted latency in milliseconds, by the protocol that the predictor was fitted to",
}
"""Name -> meaning, in the order of tables."""

MONOTONE = ("params", "params_no_embed", "flops")
"""Costs that grow, or stay, with every gene, see :meth:`fairseq_mos.arch.SearchSpace.largest`."""


@dataclass(frozen=True)
class CostModel:
    """Costs of the dense subnets of one supernet.

    Attributes:
        source_vocabulary: entries of the source dictionary.
        target_vocabulary: entries of the target dictionary.
        share: how embeddings are shared, see :func:`fairseq_mos.families.translation.costs.parameters`.
        normalize_before: pre-norm of encoder and decoder.
        normalize_embedding: a layer norm on each side's embeddings.
        predictor: predicts `latency_ms`; None: there is no such cost.
    """

    source_vocabulary: int
    target_vocabulary: int
    share: str = "all"
    normalize_before: tuple[bool, bool] = (False, False)
    normalize_embedding: bool = False
    predictor: LatencyPredictor | None = None

    @classmethod
    def of_supernet(cls, model, predictor: LatencyPredictor | None = None) -> CostModel:
        """Reads the sizes from a `mos_transformer`."""
        cfg = model.cfg
        shared_output = "decoder" if cfg.share_decoder_input_output_embed else "none"
        return cls(
            source_vocabulary=len(model.encoder.dictionary),
            target_vocabulary=len(model.decoder.dictionary),
            share="all" if cfg.share_all_embeddings else shared_output,
            normalize_before=(bool(cfg.encoder_normalize_before), bool(cfg.decoder_normalize_before)),
            normalize_embedding=bool(cfg.layernorm_embedding),
            predictor=predictor,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The costs that it knows, in the order of :data:`COSTS`."""
        return tuple(name for name in COSTS if name != "latency_ms" or self.predictor is not None)

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Returns every cost of :attr:`names`."""
        count = parameters(arch, self.source_vocabulary, self.target_vocabulary, self.share, self.normalize_before)
        norms = 2 * (arch.encoder.embed_dim + arch.decoder.embed_dim) if self.normalize_embedding else 0
        costs: dict[str, float] = {
            "params": count.total + norms,
            "params_no_embed": count.no_embed + norms,
            "flops": flops(arch),
        }
        if self.predictor is not None:
            costs["latency_ms"] = self.predictor.predict([arch])[0]
        return costs


def extreme(
    space: SearchSpace, costs: Callable[[Architecture], dict[str, float]], name: str, largest: bool
) -> tuple[Architecture, float]:
    """Returns the architecture with the least (or most) of a cost, and its value.

    Exact for costs that grow with every gene. A predicted latency need not: there, from the space's own
    extreme and the best of some random draws, single genes are changed as long as that helps.
    """
    sign = -1 if largest else 1
    end = space.largest() if largest else space.smallest()
    if name in MONOTONE:
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
