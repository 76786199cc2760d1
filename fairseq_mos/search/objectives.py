"""What a search optimises, as one number per evaluation for algorithms to compare."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairseq_mos.search.archive import Evaluation


@dataclass(frozen=True)
class Objective:
    """A value to make small or large.

    Attributes:
        name: its name among an evaluation's values.
        minimize: whether less is better.
        expensive: whether it needs the model to run; constraints are on cheap ones only.
    """

    name: str
    minimize: bool = True
    expensive: bool = False

    def fitness(self, evaluation: Evaluation) -> float:
        """Returns the value with its sign turned so that less is better; what is not a number is worst."""
        value = evaluation.values[self.name]
        if math.isnan(value):
            return math.inf
        return value if self.minimize else -value


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("loss", expensive=True),
        Objective("nll_loss", expensive=True),
        Objective("params"),
        Objective("params_no_embed"),
        Objective("flops"),
    )
}
"""Name -> objective."""
