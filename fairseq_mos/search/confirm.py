"""Measuring the winners of a search of which a limited quantity, such as latency, was only predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.arch import Architecture
from fairseq_mos.documents import json_lines, read_bytes
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.paths import exists
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.evaluation import Evaluation, Values
from fairseq_mos.search.quantities import Quantity

Measure = Callable[[Architecture], Values]

TRIES = 20
"""How many winners are measured before the search gives up."""

CHECKS = 3
"""How often one that seems to break the limits is measured: something else may have disturbed the first time."""


def fields(quantity: Quantity) -> tuple[str, ...]:
    """Returns the names of a measurement's values, such as :meth:`fairseq_mos.cost.comparison.Comparison.values`."""
    parts = ("low", "high", "clocked", "reference", "recorded")
    return (quantity.name, *(f"{part}_{quantity.unit}" for part in parts))


@dataclass(frozen=True)
class Confirmation:
    """A winner's value of the quantity, predicted and measured.

    Attributes:
        evaluation: the winner.
        predicted: its prediction.
        measured: its value relative to the reference's, times the reference's in the data set of the predictor.
        low: the lower quartile of that.
        high: the upper quartile.
        clocked: as it was measured (latency: median by the clock), in turn with the reference.
        reference: the reference's, as measured then.
        recorded: the reference's in the data set.
        holds: whether the measured value keeps the limits.
    """

    evaluation: Evaluation
    predicted: float
    measured: float
    low: float
    high: float
    clocked: float
    reference: float
    recorded: float
    holds: bool

    @property
    def error(self) -> float:
        """The prediction's relative error: 0.1 is a tenth too high."""
        return self.predicted / self.measured - 1


def confirm(
    evaluations: Sequence[Evaluation],
    key: Callable[[Evaluation], tuple],
    limits: Sequence[Constraint],
    quantity: Quantity,
    measure: Measure,
    complete: Callable[[Evaluation], Evaluation],
    path: Path,
    tries: int = TRIES,
    say: Callable[[str], None] | None = None,
    more: Callable[[float], Sequence[Evaluation]] = lambda correction: (),
) -> list[Confirmation]:
    """Measures winners, best first, until one keeps the limits.

    They are judged relative to the reference, which is timed in turn with them: the machine may be slower, or
    faster, than when the data set was measured. One that seems to break the limits is measured twice more, and the
    middle one of three measurements counts. Once some have broken the limits, predictions are corrected by what
    was measured: the next one is the best that should keep them. Measurements are kept in a file, so that a search
    that is run again gives the same answer.

    Args:
        evaluations: with predicted values.
        key: what they are sorted by, least first.
        limits: upper limits on the quantity.
        quantity: what was predicted.
        measure: architecture -> its :func:`fields`.
        complete: measures in full what racing has stopped early.
        path: file of the measurements, JSON lines.
        tries: how many to measure at most.
        say: is told what is measured, which takes its time, and why there is another one.
        more: is told the most that was measured over what was predicted when one has broken the limits, and returns
            further evaluations.

    Returns:
        The measured ones in order; only the last one may keep the limits, and does so if any was found.

    Raises:
        UserError: a damaged file of measurements, or one of an earlier version.
    """
    name, names = quantity.name, fields(quantity)
    known = _read(path, quantity)
    confirmations: list[Confirmation] = []
    waiting = list(evaluations)
    while waiting and len(confirmations) < tries and not (confirmations and confirmations[-1].holds):
        evaluation = _next(waiting, key, limits, confirmations, name)
        waiting.remove(evaluation)
        if not evaluation.full:
            waiting.append(complete(evaluation))
            continue
        digest = evaluation.architecture.digest()
        if digest not in known:
            if say is not None:
                predicted = f"{evaluation.values[name]:.4g} {quantity.unit}"
                say(f"measuring the {quantity.title} of the winner, {digest} (predicted: {predicted})")
            values = _middle(evaluation.architecture, measure, limits, name)
            known[digest] = {field: float(values[field]) for field in names}
            _write(path, known)
        values = known[digest]
        confirmations.append(
            Confirmation(
                evaluation,
                evaluation.values[name],
                *(values[field] for field in names),
                all(limit.met(values) for limit in limits),
            )
        )
        if say is not None and not confirmations[-1].holds:
            broken = " and ".join(map(str, limits))
            say(f"measured {values[name]:.4g} {quantity.unit}, where {broken} was asked for: on to the next one")
        if not confirmations[-1].holds:
            waiting += more(_correction(confirmations))
    return confirmations


def _middle(architecture: Architecture, measure: Measure, limits: Sequence[Constraint], name: str) -> Values:
    values = measure(architecture)
    if all(limit.met(values) for limit in limits):
        return values
    found = [values, *(measure(architecture) for _ in range(CHECKS - 1))]
    return sorted(found, key=lambda values: values[name])[CHECKS // 2]


def check_confirmed(confirmations: Sequence[Confirmation], limits: Sequence[Constraint], quantity: Quantity) -> None:
    """Checks that a winner keeps the limits.

    Raises:
        UserError: none does; names the one with the least that was measured.
    """
    if confirmations[-1].holds:
        return
    closest = min(confirmations, key=lambda confirmation: confirmation.measured)
    raise UserError(
        f"none of the {len(confirmations)} best architectures keeps {' and '.join(map(str, limits))} when measured: "
        f"the {quantity.least} is {closest.evaluation.architecture.digest()} with {closest.measured:.4g} "
        f"{quantity.unit} (predicted {closest.predicted:.4g} {quantity.unit}); fit the {quantity.title} predictor "
        "anew on this machine, or raise the limit"
    )


def _next(
    waiting: Sequence[Evaluation],
    key: Callable[[Evaluation], tuple],
    limits: Sequence[Constraint],
    confirmations: Sequence[Confirmation],
    name: str,
) -> Evaluation:
    correction = _correction(confirmations) if confirmations else 1.0

    def corrected(evaluation: Evaluation) -> Values:
        return {name: evaluation.values[name] * correction}

    good = [e for e in waiting if all(limit.met(corrected(e)) for limit in limits)]
    if good:
        return min(good, key=key)
    return min(waiting, key=lambda e: (e.values[name], e.index))


def _correction(confirmations: Sequence[Confirmation]) -> float:
    # With the middle one, every second of the next would break the limits again, and each takes minutes.
    return max(c.measured / c.predicted for c in confirmations)


def _read(path: Path, quantity: Quantity) -> dict[str, dict[str, float]]:
    if not exists(path):
        return {}
    remedy = "remove it to measure again"
    names = fields(quantity)
    check = quantity.check or (lambda name, value: float(value))
    try:
        # Written whole: a last line that does not end is no line that was cut short.
        rows = json_lines(read_bytes(path, "measurements").rstrip(b"\n") + b"\n", path)
        if any(quantity.name in row and names[3] not in row for row in rows):
            raise UserError(f"{path} holds latencies of an earlier version, which compared them with no reference")
        return {str(row["digest"]): {name: check(name, row[name]) for name in names} for row in rows}
    except UserError as error:
        raise UserError(f"{error}: {remedy}") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}), expected latencies: {remedy}") from None


def _write(path: Path, known: Mapping[str, Mapping[str, float]]) -> None:
    with atomic_write(path) as stream:
        for digest, values in known.items():
            stream.write(json.dumps({"digest": digest, **values}) + "\n")
