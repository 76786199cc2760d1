"""Limits on cost, such as `params<=30e6`: reading them, and whether they can be met at all."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.search.costs import CostModel, extreme
from fairseq_mos.search.quantities import QUANTITIES, cheap

_COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_PATTERN = re.compile(
    r"\s*(?P<name>[A-Za-z_]\w*)\s*(?P<operator><=|>=|<|>)\s*"
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<suffix>[KMGT]?)\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class Constraint:
    """A limit on one cost.

    Attributes:
        name: a cheap one of :data:`fairseq_mos.search.quantities.QUANTITIES`.
        operator: `<=`, `<`, `>=` or `>`.
        limit: the number to compare with.
    """

    name: str
    operator: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Reads `VARIABLE OPERATOR NUMBER`; the number may end in K, M, G or T.

        Raises:
            UserError: anything else, naming what is allowed.
        """
        match = _PATTERN.fullmatch(text)
        names = [quantity.name for quantity in cheap()]
        if match is None or match["name"] not in names:
            raise UserError(
                f"--constraint {text!r}: expected VARIABLE OPERATOR NUMBER such as params<=30e6 or "
                f"flops<1.2G; variables: {', '.join(names)}; operators: {', '.join(_COMPARE)}; "
                "suffixes: K, M, G, T"
            )
        limit = float(match["number"]) * _SUFFIXES[match["suffix"]]
        if limit == float("inf"):
            raise UserError(f"--constraint {text!r}: the number is too large")
        return cls(match["name"], match["operator"], limit)

    @property
    def upper(self) -> bool:
        """Whether it limits from above."""
        return self.operator.startswith("<")

    def met(self, costs: Mapping[str, float]) -> bool:
        """Whether the costs keep the limit."""
        return _COMPARE[self.operator](costs[self.name], self.limit)

    def violation(self, costs: Mapping[str, float]) -> float:
        """Returns 0 if the limit is kept, else how far it is missed, relative to the limit."""
        if self.met(costs):
            return 0.0
        # An equal value misses a strict limit, by no distance at all: still no zero.
        return max(abs(costs[self.name] - self.limit) / max(self.limit, 1.0), 1e-12)

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{plain(self.limit)}"


def plain(value: float) -> str:
    """Returns the number in full, without `.0` where it is whole."""
    return str(int(value)) if value == int(value) else str(value)


def check_reachable(constraints: Sequence[Constraint], space: SearchSpace, costs: CostModel) -> None:
    """Checks each limit against the space's extremes.

    Raises:
        UserError: a limit on latency without a predictor, one that no architecture meets, with the reachable value, or
            two that contradict.
    """
    for constraint in constraints:
        if constraint.name not in costs.names:
            raise UserError(
                f"--constraint {constraint} needs --latency-predictor FILE, which fairseq-mos latency-dataset "
                "and fit-latency make for a device"
            )
    for constraint in constraints:
        word = "smallest" if constraint.upper else "largest"
        architecture, reachable = extreme(space, costs, constraint.name, largest=not constraint.upper)
        if not constraint.met({constraint.name: reachable}):
            value = reachable if isinstance(reachable, int) else f"{reachable:.4g}"
            which = f"the {word} of search space {space.name!r}"
            if not QUANTITIES[constraint.name].monotone:
                which = f"of search space {space.name!r}: {architecture.to_json()}"
            raise UserError(
                f"constraint {constraint} cannot be met: the {word} reachable value is {value} "
                f"(architecture {architecture.digest()}, {which})"
            )
    for low in constraints:
        for high in constraints:
            if low.upper or not high.upper or low.name != high.name:
                continue
            strict = "=" not in low.operator or "=" not in high.operator
            if low.limit > high.limit or (strict and low.limit == high.limit):
                raise UserError(f"constraints {low} and {high} contradict each other: no value meets both")
