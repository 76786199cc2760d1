"""A search that can begin, and what its log depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.documents import parse_json
from fairseq_mos.ranges import EVALUATIONS
from fairseq_mos.search.costs import CostModel
from fairseq_mos.search.evaluation import Values
from fairseq_mos.search.quantities import CLOCK, QUANTITIES, Quantity
from fairseq_mos.search.request import Aim
from fairseq_mos.search.settings import Settings

LOG = "evaluations.jsonl"
STATE = "state.json"


def recorded_budget(folder: Path) -> int | None:
    """Returns the budget with which the search in a folder was begun, to which its settings were fitted.

    Continued with a larger budget, a search keeps its sizes: its log would not fit others.
    """
    try:
        with open(folder / LOG, "rb") as stream:
            return EVALUATIONS.check("fitted_to", parse_json(stream.readline(), LOG)["fitted_to"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or what is wrong comes out when the log is opened


@dataclass(frozen=True, kw_only=True)
class Plan(Aim):
    """A search that can begin.

    Attributes:
        space: the search space.
        costs: the cost model.
        evaluate: architecture -> measured values, the objectives among them.
        measured: what these values depend on (supernet, data, device, versions): part of the signature.
        given: architectures to start with.
        race: (architecture, incumbent) -> measured values; may stop early where the architecture is clearly
            worse than the incumbent, with `raced` 1 then. None: every evaluation is a full one.
        remeasure: architecture -> the values of :func:`fairseq_mos.search.confirm.fields`, to confirm winners of which
            a limited quantity was only predicted.
        expect: is told which architectures will be evaluated next, on this process, in this order; None: nobody is.
        about: what else the log's header should say, such as paths.
        fitted_to: the budget that the settings were fitted to, see :func:`recorded_budget`; None: this one.
    """

    space: SearchSpace
    costs: CostModel
    evaluate: Callable[[Architecture], Values]
    measured: Mapping[str, object]
    given: Sequence[Architecture] = ()
    race: Callable[[Architecture, Architecture], Values] | None = None
    remeasure: Callable[[Architecture], Values] | None = None
    expect: Callable[[Sequence[Architecture]], None] | None = None
    about: Mapping[str, object] = field(default_factory=dict)
    fitted_to: int | None = None

    @property
    def predicted(self) -> Quantity | None:
        """A limited quantity that is only predicted."""
        limited = (QUANTITIES[limit.name] for limit in self.constraints)
        return next((quantity for quantity in limited if quantity.source == CLOCK), None)

    def effective_settings(self) -> Settings:
        """Returns the settings that fit the budget with which the search was begun."""
        fitted_to = self.recorded().get("fitted_to")
        return self.settings if fitted_to is None else self.settings.fit(fitted_to)

    def recorded(self) -> dict[str, int]:
        """Returns what the log's header should say for :func:`recorded_budget`."""
        if self.algorithm not in ("evolution", "nsga2"):
            return {}
        # Larger ones change no size.
        return {"fitted_to": min(self.fitted_to or self.budget, 2 * self.settings.population)}

    def races(self) -> bool:
        """Whether evaluations may be cut short: only where the loss alone decides."""
        return self.race is not None and self.objectives == ("loss",)

    def signature(self) -> dict[str, object]:
        """Returns all that the log's lines depend on.

        The budget is not among it: a finished search can be continued with a larger one.
        """
        signature: dict[str, object] = {
            "space": f"{self.space.name}-{self.space.digest()}",
            **self.measured,
            "algorithm": self.algorithm,
            "objectives": list(self.objectives),
            "seed": self.seed,
            "constraints": [str(constraint) for constraint in self.constraints],
        }
        if self.costs.predictor is not None:
            signature["latency_predictor"] = self.costs.predictor.digest()
        if self.given:
            signature["given"] = [architecture.digest() for architecture in self.given]
        if self.races():
            signature["racing"] = True
        if self.algorithm in ("evolution", "nsga2"):
            signature["settings"] = asdict(self.effective_settings())
        return signature

    def violation(self, architecture: Architecture) -> float:
        """Returns 0 for an architecture within the limits, else how far it is outside."""
        if not self.constraints:
            return 0.0
        costs = self.costs(architecture)
        return sum(constraint.violation(costs) for constraint in self.constraints)
