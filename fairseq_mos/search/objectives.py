"""What a search optimises, as one number per evaluation for algorithms to compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_mos.errors import UserError

if TYPE_CHECKING:
    from fairseq_mos.search.archive import Evaluation


@dataclass(frozen=True)
class Objective:
    """A value to make small or large.

    Attributes:
        name: its name among an evaluation's values.
        meaning: what it is, with its unit, for tables and axes.
        minimize: whether less is better.
        expensive: whether it needs the model to run; constraints are on cheap ones only.
    """

    name: str
    meaning: str
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
        Objective("loss", "validation loss with inherited weights (bits per token)", expensive=True),
        Objective("nll_loss", "validation loss without label smoothing (bits per token)", expensive=True),
        Objective("bleu", "sacreBLEU with inherited weights", minimize=False, expensive=True),
        Objective("chrf", "chrF with inherited weights", minimize=False, expensive=True),
        Objective("latency_ms", "latency (ms)"),
        Objective("params", "parameters"),
        Objective("params_no_embed", "parameters without embeddings and output layer"),
        Objective("flops", "FLOPs of one sentence of 30/30 tokens, without the output layer"),
    )
}
"""Name -> objective."""


def parse_objectives(text: str) -> tuple[str, ...]:
    """Reads names separated by commas.

    Raises:
        UserError: an unknown name, one that is given twice, or none that needs the model.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f"--objectives: {name!r} is unknown, allowed: {', '.join(OBJECTIVES)}")
    if len(set(names)) != len(names):
        raise UserError(f"--objectives {text}: a name is given twice")
    if not OBJECTIVES[names[0]].expensive:
        qualities = ", ".join(name for name, objective in OBJECTIVES.items() if objective.expensive)
        raise UserError(f"--objectives {text}: the first one chooses the winner, allowed there: {qualities}")
    return names
