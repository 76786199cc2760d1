"""What a report needs of the files that other verbs write; checked while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

from msgspec import Meta, Struct

from fairseq_mos.arch import Architecture
from fairseq_mos.documents import convert, json_lines, read_bytes, read_json
from fairseq_mos.errors import UserError
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.plots import Shown
from fairseq_mos.search.quantities import QUANTITIES

# Larger numbers than anything that is counted or measured would not fit on the axes of a picture.
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
MaybeNumber = Optional[Number]
MaybeText = Optional[str]


class Score(Struct):
    """A system's score in one metric, see :class:`fairseq_mos.metrics.scores.Score`."""

    score: Number
    signature: str
    low: MaybeNumber = None
    high: MaybeNumber = None
    p_value: MaybeNumber = None


class ScoreRow(Struct):
    """One system on one test set, of `scores.json`; `folder` is where that lies."""

    test_set: str
    system: str
    scores: dict[str, Score]
    costs: dict[str, MaybeNumber]
    signature: str = ""
    folder: str = ""


class Signature(Struct):
    """What a search's values depend on, as far as a report asks for it."""

    algorithm: str
    objectives: Annotated[list[str], Meta(min_length=1)]
    seed: int
    split: str
    constraints: list[str] = []


class Header(Struct):
    """The first line of a search's log; supernet and data as they were given."""

    signature: Signature
    path: MaybeText = None
    data: MaybeText = None


class Place(Struct):
    """An evaluation's place in a search's log; `raced` is 1 where the loss is an estimate."""

    index: Annotated[int, Meta(ge=0, le=10**12)]
    raced: MaybeNumber = None


class Measured(Struct):
    """A winner's latency, predicted and measured, in milliseconds."""

    predicted: Number
    measured: Number
    low: Number
    high: Number
    holds: bool
    digest: str = ""


MaybeMeasured = Optional[list[Measured]]


class Best(Struct):
    """The winner, of `best.json`."""

    params: Number
    flops: Number
    architecture: dict
    measured: MaybeMeasured = None


@dataclass
class Search:
    """A search's folder.

    Attributes:
        folder: where it lies.
        name: what to call it: the folder's name, or its path within the run where several are called alike.
        about: the first line of its log.
        signature: all that its values depend on.
        shown: its log and its winner, for pictures.
        best: the winner.
        architecture: the winner.
    """

    folder: Path
    name: str
    about: Header
    signature: dict
    shown: Shown
    best: Best
    architecture: Architecture


def read_scores(file: Path) -> list[ScoreRow]:
    """Reads `scores.json`.

    Raises:
        UserError: names the file, the row and the field.
    """
    rows = read_json(file, "scores", list)
    found = [convert(row, ScoreRow, f"{file}: row {number}") for number, row in enumerate(rows, 1)]
    for row in found:
        row.folder = str(file.parent)
    return found


def read_search(log: Path) -> Search:
    """Reads a search that has found a winner.

    Args:
        log: its `evaluations.jsonl`, beside which `best.json` lies.

    Raises:
        UserError: names the file, the line and the field.
    """
    winner = log.with_name("best.json")
    lines = json_lines(read_bytes(log, "search"), log)
    if len(lines) < 2:
        raise UserError(f"{log} holds no evaluation, but {winner} a winner")
    header, *rows = lines
    about = convert(header, Header, f"{log}: line 1")
    objectives = about.signature.objectives
    unknown = next((name for name in objectives if name not in QUANTITIES), None)
    if unknown is not None:
        raise UserError(f"{log}: line 1: objectives hold {unknown}, allowed: {', '.join(QUANTITIES)}")
    evaluations = [_evaluated(row, f"{log}: line {number}") for number, row in enumerate(rows, 2)]
    content = read_json(winner, "winner")
    best, values = convert(content, Best, f"{winner}"), _values(content, f"{winner}")
    if objectives[0] not in values:
        raise UserError(f"{winner}: {objectives[0]} is missing, expected a number")
    architecture = Architecture.from_dict(best.architecture, f"{winner}: architecture")
    measured = best.measured or []
    broken = [m.digest for m in measured if not m.holds]
    held = [(m.measured, m.low, m.high) for m in measured if m.holds]
    shown = Shown(
        objectives,
        _limits(about.signature.constraints),
        evaluations,
        values,
        {e.index for e, row in zip(evaluations, rows) if row.get("digest") in broken},
        held[-1] if held else None,
    )
    return Search(log.parent, log.parent.name, about, header["signature"], shown, best, architecture)


def _evaluated(row: dict, source: str) -> Evaluation:
    place = convert(row, Place, source)
    # No architecture: pictures show values.
    return Evaluation(place.index, None, "", {**_values(row, source), "raced": place.raced or 0})


def _values(row: dict, source: str) -> dict[str, float]:
    found = {name: convert(row.get(name), MaybeNumber, f"{source}: {name}") for name in QUANTITIES}
    return {name: value for name, value in found.items() if value is not None}


def _limits(texts: Sequence[str]) -> list[Constraint]:
    """Returns the limits that are ones: a log is only shown."""
    found = []
    for text in texts:
        with suppress(UserError):
            found.append(Constraint.parse(text))
    return found
