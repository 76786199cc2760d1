"""What is known of an architecture, one row a quantity: all that limits, objectives, tables and axes say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fairseq_mos.arch import Architecture
from fairseq_mos.cost.milliseconds import milliseconds
from fairseq_mos.errors import UserError
from fairseq_mos.search.evaluation import Evaluation

LOSSES, SCORES, COUNTS, CLOCK = "losses", "scores", "counts", "clock"
"""Who measures: the family's evaluator, its scorer, its closed forms; a meter, or the predictor of its values."""


@dataclass(frozen=True)
class Quantity:
    """A value to make small or large, or to limit.

    Attributes:
        name: on the command line, among an evaluation's values and in files.
        title: what it is.
        source: who measures it, or a function of the architecture.
        unit: of the values.
        header: of its column in tables; by default its name.
        format: of a table's cells.
        scale: what a table's values are divided by.
        minimize: whether less is better.
        monotone: grows, or stays, with every gene, see :meth:`fairseq_mos.arch.SearchSpace.largest`.
        traded: whether a front of the first objective against it is written.
        note: what to know about limits on it.
        least: word for the architecture that has the least of it.
        check: refuses a value of a file that cannot be: (name, value), raises ValueError.
        families: whose models have it; empty: all.
    """

    name: str
    title: str
    source: str | Callable[[Architecture], float]
    unit: str = ""
    header: str = ""
    format: str = "{:,.4g}"
    scale: float | None = None
    minimize: bool = True
    monotone: bool = False
    traded: bool = False
    note: str = ""
    least: str = "smallest"
    check: Callable[[str, object], object] | None = None
    families: tuple[str, ...] = ()

    def require(self, family: str, flag: str) -> None:
        """Checks that models of a family have it.

        Raises:
            UserError: they do not.
        """
        if self.families and family not in self.families:
            others = ", ".join(q.name for q in QUANTITIES.values() if not q.families or family in q.families)
            raise UserError(f"{flag}: {self.name} is for {', '.join(self.families)}; of {family} there are {others}")

    @property
    def expensive(self) -> bool:
        """Whether it needs the model to run on data; limits are on cheap ones only."""
        return self.source in (LOSSES, SCORES)

    @property
    def label(self) -> str:
        """Title and unit, for axes."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def fitness(self, evaluation: Evaluation) -> float:
        """Returns the value with its sign turned so that less is better; what is not a number is worst."""
        value = evaluation.values[self.name]
        if math.isnan(value):
            return math.inf
        return value if self.minimize else -value

    def cell(self, value: float) -> str:
        """Returns a value as tables show it."""
        return self.format.format(value if self.scale is None else value / self.scale)


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            "loss", "validation loss with inherited weights", LOSSES, "bits per token", format="{:.4f}",
        ),
        Quantity(
            "nll_loss", "validation loss without label smoothing", LOSSES, "bits per token", "nll loss", "{:.4f}",
        ),
        Quantity(
            "bleu", "sacreBLEU with inherited weights", SCORES, "", "BLEU", "{:.2f}", minimize=False,
            families=("translation",),
        ),
        Quantity(
            "chrf", "chrF with inherited weights", SCORES, "", "chrF", "{:.2f}", minimize=False,
            families=("translation",),
        ),
        Quantity(
            "proxy_score", "score of a short fine-tuning of inherited weights", SCORES, "", "proxy", "{:.2f}",
            minimize=False, families=("masked_lm",),
        ),
        Quantity(
            "latency_ms", "latency", CLOCK, "ms", "ms", "{:.2f}", traded=True,
            note="predicted: needs --latency-predictor", least="fastest", check=milliseconds,
        ),
        Quantity("params", "parameters", COUNTS, "", "parameters", "{:,}", monotone=True, traded=True),
        Quantity(
            "params_no_embed", "parameters without embeddings and output layer", COUNTS, "", "w/o embeddings", "{:,}",
            monotone=True,
        ),
        Quantity(
            "params_budget", "parameters as published BERT searches count them", COUNTS, "", "budget", "{:,}",
            monotone=True, note="30,522 entries, 512 positions", families=("masked_lm",),
        ),
        Quantity(
            "flops", "FLOPs of one sentence of 30/30 tokens, without the output layer", COUNTS, "", "MFLOPs",
            "{:,.1f}", 1e6, monotone=True, traded=True, note="at 30/30 tokens",
        ),
    )
}  # fmt: skip
"""Name -> quantity; another one is another row."""


def cheap() -> list[Quantity]:
    """Returns what needs no data, and can be limited, in the order of tables: those that grow with every gene first."""
    return sorted((q for q in QUANTITIES.values() if not q.expensive), key=lambda quantity: not quantity.monotone)


def columns() -> list[Quantity]:
    """Returns all quantities in the order of tables."""
    return [*cheap(), *(quantity for quantity in QUANTITIES.values() if quantity.expensive)]


def traded() -> list[str]:
    """Returns the names of the costs against which a front of the first objective is written."""
    return [quantity.name for quantity in reversed(cheap()) if quantity.traded]


def limits_help() -> str:
    """Returns the names of what can be limited, each with its note, as a part of a sentence."""
    *names, last = (q.name + f" ({q.note})" * bool(q.note) for q in QUANTITIES.values() if not q.expensive)
    return f"{', '.join(names)} or {last}"


def parse_objectives(text: str) -> tuple[str, ...]:
    """Reads names separated by commas.

    Raises:
        UserError: an unknown name, one that is given twice, or none that needs the model.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in QUANTITIES:
            raise UserError(f"--objectives: {name!r} is unknown, allowed: {', '.join(QUANTITIES)}")
    if len(set(names)) != len(names):
        raise UserError(f"--objectives {text}: a name is given twice")
    if not QUANTITIES[names[0]].expensive:
        qualities = ", ".join(name for name, quantity in QUANTITIES.items() if quantity.expensive)
        raise UserError(f"--objectives {text}: the first one chooses the winner, allowed there: {qualities}")
    return names
