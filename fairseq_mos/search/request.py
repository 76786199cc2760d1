"""What a search is asked for: checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairseq_mos.errors import UserError
from fairseq_mos.files import check_folder
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.scoring import ScorerOptions
from fairseq_mos.search.settings import Settings

BUDGET = 3125
"""Evaluations of HAT's search: 125 architectures, then 30 generations of 100."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What to search for, and how.

    Attributes:
        algorithm: a name of :data:`fairseq_mos.search.algorithms.ALGORITHMS`.
        objectives: names of :data:`fairseq_mos.search.quantities.QUANTITIES`; the first one picks the winner.
        budget: how many architectures to evaluate; None, in a request: the published number, or all of them.
        minutes: how long the search may take, over all its runs; None: any time.
        seed: seed of the algorithm.
        constraints: limits that every evaluated architecture keeps.
        settings: sizes of the evolutionary search and of NSGA-II.
    """

    algorithm: str = "evolution"
    objectives: tuple[str, ...] = ("loss",)
    budget: int | None = BUDGET
    minutes: float | None = None
    seed: int = 1
    constraints: Sequence[Constraint] = ()
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Aim):
    """A search of a supernet: what the flags of `fairseq-mos search` say, which have the same names.

    Attributes:
        precision: `fp32`; on a GPU also `fp16` or `bf16`.
        scoring: what the family's scorer is told.

    Raises:
        UserError: contradicting values, naming the flag.
    """

    data: str
    path: str
    output: str
    start: Sequence[str] = ()
    valid_subset: str = "valid"
    max_tokens: int = 4096
    cpu: bool = False
    precision: str = "fp32"
    no_racing: bool = False
    latency_predictor: str | None = None
    threads: int | None = None
    any_device: bool = False
    no_confirm: bool = False
    latency_runs: int = 30
    confirm_runs: int = 100
    scoring: ScorerOptions = field(default_factory=ScorerOptions)
    distributed_timeout: float = 10.0

    def __post_init__(self) -> None:
        check_folder(self.output)
        if ("proxy_score" in self.objectives) != (self.scoring.proxy.data is not None):
            raise UserError("--objectives proxy_score and --proxy-data DIR need each other")
        if self.algorithm == "nsga2" and len(self.objectives) < 2:
            got = ",".join(self.objectives)
            raise UserError(f"--algorithm nsga2 needs several --objectives, such as loss,latency_ms: got {got}")
