"""Sizes of the evolutionary search and of NSGA-II."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from fairseq_mos.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Sizes of the evolutionary search; the defaults are HAT's (section 3.2).

    Attributes:
        population: architectures of the first generation.
        parents: how many of the best a generation is made from; they stay in the population.
        mutations: mutated children of a generation.
        crossovers: crossed children of a generation.
        mutation_prob: probability with which a mutation redraws each gene.

    Raises:
        UserError: sizes that make no search, naming the flag.
    """

    population: int = 125
    parents: int = 25
    mutations: int = 50
    crossovers: int = 50
    mutation_prob: float = 0.3

    def __post_init__(self) -> None:
        for name, least in (("population", 1), ("parents", 1), ("mutations", 0), ("crossovers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}, allowed: {least} or more")
        if self.parents > self.population:
            raise UserError(
                f"--parents is {self.parents}, allowed: at most --population, which is {self.population}"
            )
        if self.mutations + self.crossovers == 0:
            raise UserError("--mutations and --crossovers are both 0, allowed: 1 or more children altogether")
        if not 0 <= self.mutation_prob <= 1:
            raise UserError(f"--mutation-prob is {self.mutation_prob}, allowed: 0 to 1")

    def fit(self, budget: int) -> Settings:
        """Returns settings for a budget of evaluations.

        A budget below two populations would be spent before selection has any effect. Then all sizes shrink
        in proportion, so that the first generation takes a quarter of the budget.
        """
        if budget >= 2 * self.population:
            return self
        factor = budget / (4 * self.population)
        small = {
            name: max(1, round(size * factor)) if size else 0
            for name, size in asdict(self).items()
            if name != "mutation_prob"
        }
        # Crossing needs two parents to choose from.
        least = 2 if self.parents > 1 else 1
        small["parents"] = max(least, small["parents"])
        small["population"] = max(small["parents"], small["population"])
        return replace(self, **small)
