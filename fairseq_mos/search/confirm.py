"""Measuring the winners of a search whose latency was only predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.constraints import Constraint

TRIES = 10
"""How many winners are measured before the search gives up."""


@dataclass(frozen=True)
class Confirmation:
    """A winner's latency, predicted and measured.

    Attributes:
        evaluation: the winner.
        predicted: milliseconds.
        measured: milliseconds (median).
        low: the measurements' lower quartile.
        high: their upper quartile.
        holds: whether the measured latency keeps the limits.
    """

    evaluation: Evaluation
    predicted: float
    measured: float
    low: float
    high: float
    holds: bool

    @property
    def error(self) -> float:
        """The prediction's relative error: 0.1 is a tenth too high."""
        return self.predicted / self.measured - 1


def confirm(
    ranked: Sequence[Evaluation],
    limits: Sequence[Constraint],
    measure: Callable[[Architecture], Mapping[str, float]],
    path: Path,
    tries: int = TRIES,
) -> list[Confirmation]:
    """Measures winners, best first, until one keeps the limits.

    Measurements are kept in a file, so that a search that is run again gives the same answer.

    Args:
        ranked: evaluations with a predicted `latency_ms`, best first.
        limits: upper limits on `latency_ms`.
        measure: architecture -> `latency_ms` (median), `low_ms` and `high_ms`.
        path: file of the measurements, JSON lines.
        tries: how many to measure at most.

    Returns:
        The measured ones in order; the last one keeps the limits.

    Raises:
        UserError: none of them does.
    """
    known = _read(path)
    confirmations: list[Confirmation] = []
    for evaluation in ranked[:tries]:
        digest = evaluation.architecture.digest()
        if digest not in known:
            values = measure(evaluation.architecture)
            known[digest] = {name: float(values[name]) for name in ("latency_ms", "low_ms", "high_ms")}
            _write(path, known)
        values = known[digest]
        confirmations.append(
            Confirmation(
                evaluation,
                evaluation.values["latency_ms"],
                values["latency_ms"],
                values["low_ms"],
                values["high_ms"],
                all(limit.met(values) for limit in limits),
            )
        )
        if confirmations[-1].holds:
            return confirmations
    closest = min(confirmations, key=lambda confirmation: confirmation.measured)
    raise UserError(
        f"none of the {len(confirmations)} best architectures keeps {' and '.join(map(str, limits))} when measured: "
        f"the fastest is {closest.evaluation.architecture.digest()} with {closest.measured:.4g} ms (predicted "
        f"{closest.predicted:.4g} ms); fit the latency predictor anew on this machine, or lower the limit"
    )


def _read(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return {row.pop("digest"): {name: float(value) for name, value in row.items()} for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged, expected measured latencies: remove it to measure again") from None


def _write(path: Path, known: Mapping[str, Mapping[str, float]]) -> None:
    with atomic_write(path) as stream:
        for digest, values in known.items():
            stream.write(json.dumps({"digest": digest, **values}) + "\n")
