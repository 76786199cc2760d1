"""Where in a search space architectures are drawn from."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.reading import compact_json
from fairseq_mos.arch.repair import Genes, repaired
from fairseq_mos.arch.select import resolve
from fairseq_mos.documents import parse_json, read_text
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.paths import found_below, is_folder

_DRAWS = 16
"""Uniform draws until one of them has the wanted costs."""

_MOVED = 6
"""Of these draws, how many are changed until one of them has."""

_STEPS = 60
"""Of such a change. All three bound what an architecture can take: about 100 ms in the largest shipped space."""


class WholeSpace:
    """All of a search space: every gene is drawn uniformly, as in HAT."""

    def __init__(self, space: SearchSpace):
        self.space = space

    def draw(self, rng: random.Random) -> Genes:
        """Draws an architecture."""
        return self.space.sample_genes(rng)

    def draw_several(self, rng: random.Random, number: int) -> list[Genes]:
        """Draws the random architectures of an update."""
        return [self.draw(rng) for _ in range(number)]

    def ends(self, rng: random.Random) -> tuple[Architecture, Architecture]:
        """Returns what the sandwich rule takes as the largest and the smallest architecture."""
        return self.space.largest(), self.space.smallest()

    def contains(self, architecture: Architecture) -> bool:
        """Whether :meth:`draw` might return it."""
        return True


class Fair(WholeSpace):
    """The architectures of an update take the choices of every gene in turn (FairNAS): each by itself is uniform."""

    def draw_several(self, rng: random.Random, number: int) -> list[Genes]:
        turns = []
        for gene in self.space.genes:
            turn: list[int] = []
            while len(turn) < number:
                turn += rng.sample(gene.choices, len(gene.choices))
            turns.append(turn[:number])
        return list(zip(*turns))


class CostBins(WholeSpace):
    """Costs are drawn first, then an architecture that has them (ShiftNAS): uniform genes hardly ever meet extremes.

    A bin is drawn uniformly, and in it an architecture: by rejection from uniform draws, and where a few of
    them all miss, by changing genes of the nearest. In a bin without architectures, it is one nearby.

    Args:
        space: the search space.
        bins: how many, of equal width in FLOPs.
        low: FLOPs where the first begins; those of the smallest architecture by default.
        high: FLOPs where the last ends; those of the largest by default.
    """

    def __init__(self, space: SearchSpace, bins: int, low: float | None = None, high: float | None = None):
        super().__init__(space)
        self.flops = family_of(space).flops
        self.bins = bins
        self.low = self.flops(space.smallest()) if low is None else low
        self.high = self.flops(space.largest()) if high is None else high

    def draw(self, rng: random.Random) -> Genes:
        bin_ = rng.randrange(self.bins)
        width = self.high - self.low
        return self.between(self.low + width * bin_ / self.bins, self.low + width * (bin_ + 1) / self.bins, rng)

    def between(self, low: float, high: float, rng: random.Random) -> Genes:
        """Draws an architecture of `low` to `high` FLOPs, or one near them if none was found."""

        def excess(genes: Genes) -> float:
            flops = self.flops(self.space.from_genes(genes))
            return min(flops - low, 0) + max(flops - high, 0)

        drawn = []
        for _ in range(_DRAWS):
            genes = super().draw(rng)
            drawn.append((excess(genes), genes))
            if drawn[-1][0] == 0:
                return genes
        moved = []
        for over, genes in sorted(drawn, key=lambda pair: abs(pair[0]))[:_MOVED]:
            genes = self._directed(genes, over, excess, rng)
            genes, left = repaired(self.space, genes, lambda genes: abs(excess(genes)), rng, _STEPS)
            if left == 0:
                return genes
            moved.append((left, genes))
        return min(moved)[1]

    def _directed(self, genes: Genes, over: float, excess: Callable[[Genes], float], rng: random.Random) -> Genes:
        """Goes gene by gene to where there is less excess: redrawn at random, genes take long to an extreme."""
        for place in rng.sample(range(len(genes)), len(genes)):
            choices, size = self.space.genes[place].choices, genes[place]
            others = [choice for choice in choices if (choice < size if over > 0 else choice > size)]
            changed = (*genes[:place], rng.choice(others or [size]), *genes[place + 1 :])
            after = excess(changed)
            if abs(after) < abs(over):
                over, genes = after, changed
            if over == 0:
                break
        return genes


class Window(CostBins):
    """Architectures of some costs alone, so that fewer have to be served (PreNAS, NAS-BERT, AutoDistil).

    The place of the largest and the smallest is taken by architectures of the window's most and least expensive
    tenth, drawn anew each time: there is no need for one that is trained at every update and gets ahead of others.

    Args:
        space: the search space.
        low: least FLOPs, as a fraction of those of the largest architecture.
        high: most FLOPs, in the same unit.
        bins: see :class:`CostBins`; of the window.

    Raises:
        UserError: no architecture was found there.
    """

    def __init__(self, space: SearchSpace, low: float, high: float, bins: int = 1):
        flops = family_of(space).flops
        least, most = flops(space.smallest()), flops(space.largest())
        super().__init__(space, bins, max(low * most, least), high * most)
        self._known = self.between(self.low, self.high, random.Random("window"))
        if self.low > self.high or not self._has(self._known):
            raise UserError(
                f"--arch-window {low:g}:{high:g}: no architecture found there; those of search space "
                f"{space.name!r} have {least / most:.3g} to 1 of the largest's FLOPs"
            )

    def draw(self, rng: random.Random) -> Genes:
        return self._inside(super().draw(rng))

    def ends(self, rng: random.Random) -> tuple[Architecture, Architecture]:
        tenth = (self.high - self.low) / 10
        limits = ((self.high - tenth, self.high), (self.low, self.low + tenth))
        largest, smallest = (self._inside(self.between(*pair, rng)) for pair in limits)
        return self.space.from_genes(largest), self.space.from_genes(smallest)

    def contains(self, architecture: Architecture) -> bool:
        return self.low <= self.flops(architecture) <= self.high

    def _has(self, genes: Genes) -> bool:
        return self.contains(self.space.from_genes(genes))

    def _inside(self, genes: Genes) -> Genes:
        """Returns the genes, or what is known to lie in the window where a bin at its edge is empty."""
        return genes if self._has(genes) else self._known


class Listed(WholeSpace):
    """Some architectures alone, each as likely as the others, such as the front of a search.

    Args:
        space: the search space.
        architectures: those to draw from; the largest and the smallest have most and fewest FLOPs of them.
    """

    def __init__(self, space: SearchSpace, architectures: Sequence[Architecture]):
        super().__init__(space)
        self._sorted = sorted(architectures, key=family_of(space).flops)
        self._genes = [space.to_genes(architecture) for architecture in self._sorted]

    def draw(self, rng: random.Random) -> Genes:
        return rng.choice(self._genes)

    def ends(self, rng: random.Random) -> tuple[Architecture, Architecture]:
        return self._sorted[-1], self._sorted[0]


def read_list(space: SearchSpace, source: str) -> tuple[Architecture, ...]:
    """Returns different architectures in the order of a list.

    Args:
        space: the search space.
        source: a folder of YAML files, such as a search's `front`; a text file with an architecture a line, as
            :func:`resolve` takes it, empty lines and those with # aside; or a list in inline JSON.

    Raises:
        UserError: none of these, an empty one, or an architecture that is not of the space.
    """
    if source.startswith("["):
        names = [compact_json(data) for data in parse_json(source, "inline architectures")]
    elif is_folder(source):
        names = list(map(str, found_below(source, "*.yaml")))
    else:
        lines = map(str.strip, read_text(source, "list of architectures").splitlines())
        names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"{source}: no architectures in it, expected one a line, or a folder of YAML files")
    return tuple(dict.fromkeys(resolve(space, name) for name in names))
