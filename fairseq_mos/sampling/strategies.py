"""Which architectures an update trains: a function of (seed, update) alone.

So every rank and every micro-batch of an update draws the same ones, and a resumed run draws what the
uninterrupted one would have drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.repair import Genes
from fairseq_mos.sampling.regions import CostBins, Fair, Listed, WholeSpace, Window

STRATEGIES = ("sandwich", "uniform")
"""The sandwich rule: the largest (first, so that it can teach the others), the smallest, random ones; or random ones
alone (HAT with one of them)."""

_TRIES = 100
"""Of changing a gene so that the architecture is another one."""


class Sampled(NamedTuple):
    """An architecture and the role under which its loss is logged."""

    role: str
    architecture: Architecture


@dataclass(frozen=True)
class Sampling:
    """How architectures are drawn.

    Attributes:
        strategy: one of :data:`STRATEGIES`.
        num_random: random architectures per update.
        extremes_every: the largest and the smallest are trained at every so many updates.
        cost_bins: see :class:`CostBins`; 0: genes are drawn uniformly.
        chain: updates after which random architectures are drawn anew; in between they change by one gene an
            update (MAGIC-T). 0: drawn anew at each update.
        fair: see :class:`Fair`; of the whole space, without chains.
        window: see :class:`Window`: least and most FLOPs as fractions of those of the largest; or
        listed: see :class:`Listed`: the only architectures.
        narrow_from: the first update that draws from the window or the list instead of the whole space.
    """

    strategy: str = "sandwich"
    num_random: int = 1
    extremes_every: int = 1
    cost_bins: int = 0
    chain: int = 0
    fair: bool = False
    window: tuple[float, float] | None = None
    listed: tuple[Architecture, ...] = ()
    narrow_from: int = 0


class Sampler:
    """Draws the architectures of updates and of validation.

    Args:
        space: the search space.
        seed: seed of the run.
        options: how they are drawn.

    Raises:
        UserError: a window without architectures.
    """

    def __init__(self, space: SearchSpace, seed: int, options: Sampling):
        self.space, self.seed, self.options = space, seed, options
        plain = Fair(space) if options.fair else WholeSpace(space)
        self._early = CostBins(space, options.cost_bins) if options.cost_bins else plain
        self._late, self._validated = self._early, WholeSpace(space)
        if options.window:
            self._late = Window(space, *options.window, options.cost_bins or 1)
            self._validated = Window(space, *options.window)
        elif options.listed:
            self._late = self._validated = Listed(space, options.listed)
        # The chains as they were last asked for: others are computed from where they began.
        self._links: tuple[int, list[Genes]] = (-1, [])

    def of_update(self, update: int) -> list[Sampled]:
        """Returns the architectures that update number `update` trains."""
        late = update >= self.options.narrow_from
        region = self._late if late else self._early
        first = self.options.narrow_from if late else 0
        sampled = self._named([self.space.from_genes(genes) for genes in self._chains(region, update, first)])
        if self.options.strategy == "sandwich" and update % self.options.extremes_every == 0:
            sampled = self._ends(region, self._rng(f"extremes of update {update}")) + sampled
        return sampled

    def representatives(self, num_random: int) -> list[Sampled]:
        """Returns the architectures that validation measures: the largest, the smallest and fixed random ones.

        They are of the window or the list from the first update on, so that a run's checkpoints compare, and depend
        on it and on the space alone, so that different runs do.
        """
        rng = random.Random("validation")
        drawn = [self.space.from_genes(self._validated.draw(rng)) for _ in range(num_random)]
        return self._ends(self._validated, random.Random("extremes of validation")) + self._named(drawn)

    @staticmethod
    def _named(architectures: list[Architecture]) -> list[Sampled]:
        return [Sampled("random" if i == 0 else f"random{i + 1}", arch) for i, arch in enumerate(architectures)]

    @staticmethod
    def _ends(region: WholeSpace, rng: random.Random) -> list[Sampled]:
        return [Sampled(role, arch) for role, arch in zip(("largest", "smallest"), region.ends(rng))]

    def _rng(self, purpose: str) -> random.Random:
        # A string seeds through SHA-512: near seeds and updates give unrelated draws, in every process.
        return random.Random(f"{purpose}, seed {self.seed}")

    def _chains(self, region: WholeSpace, update: int, first: int) -> list[Genes]:
        """Returns the random architectures of an update; `first` is the first one of its region."""
        start = max(first, update - update % self.options.chain) if self.options.chain else update
        last, links = self._links
        if not start <= last <= update:
            rng = self._rng(f"architectures of update {start}")
            last, links = start, region.draw_several(rng, self.options.num_random)
        for step in range(last + 1, update + 1):
            rng = self._rng(f"changes of update {step}")
            links = [self._changed(region, genes, rng) for genes in links]
        self._links = (update, links)
        return links

    def _changed(self, region: WholeSpace, genes: Genes, rng: random.Random) -> Genes:
        """Changes one gene, so that the architecture is another one of the region."""
        before = self.space.from_genes(genes)
        for _ in range(_TRIES):
            changed = list(genes)
            place = rng.randrange(len(genes))
            changed[place] = rng.choice(self.space.genes[place].choices)
            architecture = self.space.from_genes(changed)
            if architecture != before and region.contains(architecture):
                return tuple(changed)
        return genes
