"""What a search is asked for: checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairseq_mos.errors import UserError
from fairseq_mos.files import check_folder
from fairseq_mos.search.budget import check_budget
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.settings import Settings

BUDGET = 3125
"""Evaluations of HAT's search: 125 architectures, then 30 generations of 100."""


@dataclass(frozen=True)
class LatencyRequest:
    """Where latencies come from.

    Attributes:
        predictor: file of a predictor; None: latency is measured where it is an objective.
        threads: CPU threads that latency is meant for; None: as many as torch uses.
        any_device: take a predictor of another device or for other threads; nothing is measured then.
        confirm: measure winners under a limit on latency.
        runs: timed runs of a candidate, where latency is measured.
        confirm_runs: timed runs of a winner's measurement.

    Raises:
        UserError: a value that is not allowed, naming the flag.
    """

    predictor: str | None = None
    threads: int | None = None
    any_device: bool = False
    confirm: bool = True
    runs: int = 30
    confirm_runs: int = 100

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UserError(f"--threads is {self.threads}, allowed: 1 or more")
        for flag, runs in (("confirm", self.confirm_runs), ("latency", self.runs)):
            if runs < 4:
                raise UserError(f"--{flag}-runs is {runs}, allowed: 4 or more")


@dataclass(frozen=True)
class SearchRequest:
    """A search of a supernet.

    Attributes:
        data: folder that fairseq-preprocess wrote.
        path: supernet checkpoint.
        output: folder to write.
        algorithm: a name of :data:`fairseq_mos.search.algorithms.ALGORITHMS`.
        objectives: names of :data:`fairseq_mos.search.quantities.QUANTITIES`; the first one picks the winner.
        budget: how many architectures to evaluate; None: the published number, or all in an exhaustive search.
        minutes: how long the search may take, over all its runs; None: any time.
        seed: seed of the algorithm.
        constraints: limits that every evaluated architecture keeps.
        start: architectures to start with: files or `random:SEED`.
        split: split to measure on.
        max_tokens: tokens of a batch.
        cpu: stay on the CPU.
        precision: `fp32`; on a GPU also `fp16` or `bf16`.
        racing: evaluations of the clearly worse end early.
        latency: where latencies come from.
        scoring: what the family's scorer is told.
        settings: sizes of the evolutionary search and of NSGA-II.
        meeting: minutes that several processes wait for each other to start.

    Raises:
        UserError: contradicting values, or one that is not allowed, naming the flag.
    """

    data: str
    path: str
    output: str
    algorithm: str = "evolution"
    objectives: tuple[str, ...] = ("loss",)
    budget: int | None = None
    minutes: float | None = None
    seed: int = 1
    constraints: Sequence[Constraint] = ()
    start: Sequence[str] = ()
    split: str = "valid"
    max_tokens: int = 4096
    cpu: bool = False
    precision: str = "fp32"
    racing: bool = True
    latency: LatencyRequest = field(default_factory=LatencyRequest)
    scoring: object = None
    settings: Settings = field(default_factory=Settings)
    meeting: float = 10.0

    def __post_init__(self) -> None:
        check_budget(BUDGET if self.budget is None else self.budget, self.minutes)
        check_folder(self.output)
        if self.algorithm == "nsga2" and len(self.objectives) < 2:
            got = ",".join(self.objectives)
            raise UserError(f"--algorithm nsga2 needs several --objectives, such as loss,latency_ms: got {got}")
