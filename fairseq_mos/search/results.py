"""What a search leaves in its folder, and the table that it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_mos.journal import finite
from fairseq_mos.paths import found_below
from fairseq_mos.search.confirm import Confirmation
from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.pareto import nondominated
from fairseq_mos.search.quantities import CLOCK, columns, traded
from fairseq_mos.tables import signature_line, text_lines, write_csv, write_json

if TYPE_CHECKING:
    from fairseq_mos.search.plan import Plan

_CONFIRMED = ("predicted", "measured", "low", "high", "clocked", "reference", "recorded", "error", "holds")


def fronts(
    evaluations: Sequence[Evaluation], plan: Plan, confirmations: Sequence[Confirmation] = ()
) -> dict[str, list[Evaluation]]:
    """Returns the fronts of a search by name, each from low to high cost.

    `pareto` is the front of all objectives if there are several. The others are named by a cost and trade it
    off against the first objective. What a measurement has shown to break a limit is in none of them.
    """
    refuted = {c.evaluation.index for c in confirmations if not c.holds}
    kept = [evaluation for evaluation in evaluations if evaluation.index not in refuted]
    found = {}
    if len(plan.objectives) > 1:
        found["pareto"] = nondominated(kept, plan.objectives)
    for cost in traded():
        if cost in evaluations[0].values:
            found[cost] = nondominated(kept, (cost, plan.objectives[0]))
    return found


def write_tables(
    folder: Path, evaluations: Sequence[Evaluation], plan: Plan, confirmations: Sequence[Confirmation] = ()
) -> None:
    """Writes `evaluations.csv`, `front/*.yaml`, `front.csv` and `front.json`, each in one step.

    Fronts are numbered from low to high cost: `front/flops-01-DIGEST.yaml`, `front/params-01-DIGEST.yaml`,
    see :func:`fronts`. Those of an earlier, shorter run of the same search are removed.

    Raises:
        UserError: something cannot be written.
    """
    signature = plan.signature()
    full = [evaluation for evaluation in evaluations if evaluation.full]
    found = fronts(full, plan, confirmations)
    write_csv(folder / "evaluations.csv", _rows(evaluations, found, plan, confirmations))
    wanted: dict[Path, dict[str, object]] = {}
    for name, front in found.items():
        for number, evaluation in enumerate(front, 1):
            file = folder / "front" / f"{name}-{number:02d}-{evaluation.architecture.digest()}.yaml"
            evaluation.architecture.save(file)
            place = {"front": name, "number": number, "file": f"front/{file.name}"}
            wanted[file] = {**place, **finite(evaluation.to_dict())}
        for file in found_below(folder / "front", f"{name}-[0-9]*-*.yaml"):
            if file not in wanted:
                file.unlink()
    rows = list(wanted.values())
    write_json(folder / "front.json", {"signature": signature, "front": rows})
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "architecture"]
    signed = [{**row, "signature": signature_line(signature)} for row in rows]
    write_csv(folder / "front.csv", signed, [*names, "signature"])


def write_best(folder: Path, best: Evaluation, plan: Plan, confirmations: Sequence[Confirmation] = ()) -> None:
    """Writes `best.yaml` and `best.json`, each in one step.

    Raises:
        UserError: something cannot be written.
    """
    best.architecture.save(folder / "best.yaml")
    row = {**best.to_dict(), "signature": plan.signature()}
    if confirmations:
        row["measured"] = [
            {"digest": c.evaluation.architecture.digest(), **{name: getattr(c, name) for name in _CONFIRMED}}
            for c in confirmations
        ]
    write_json(folder / "best.json", row)


def _rows(
    evaluations: Sequence[Evaluation],
    found: Mapping[str, Sequence[Evaluation]],
    plan: Plan,
    confirmations: Sequence[Confirmation],
) -> list[dict[str, object]]:
    signature = signature_line(plan.signature())
    members = {name: {evaluation.index for evaluation in front} for name, front in found.items()}
    measured = {c.evaluation.index: c.measured for c in confirmations}
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.values))
    return [
        {
            "index": e.index,
            "digest": e.architecture.digest(),
            "origin": e.origin,
            **{name: e.values.get(name, "") for name in names},
            **({f"measured_{plan.predicted.name}": measured.get(e.index, "")} if measured else {}),
            **{f"front_{name}": int(e.index in members[name]) for name in found},
            "architecture": e.architecture.to_json(),
            "signature": signature,
        }
        for e in evaluations
    ]


def summary_table(rows: Sequence[tuple[str, Mapping[str, float]]], signature: Mapping[str, object]) -> str:
    """Returns a table of architectures (name, values) for the terminal, with its signature below.

    A row without measured values was not evaluated.
    """
    shown = [quantity for quantity in columns() if any(quantity.name in values for _, values in rows)]
    how = " (predicted)" if "latency_predictor" in signature else " (measured)"
    cells = [["architecture", *((q.header or q.name) + how * (q.source == CLOCK) for q in shown)]]
    cells += [[label, *(q.cell(values[q.name]) if q.name in values else "-" for q in shown)] for label, values in rows]
    lines = text_lines(cells)
    lines.insert(1, "-" * len(lines[0]))
    note = "MFLOPs: one sentence of 30/30 tokens, without the output layer; losses: base 2, inherited weights"
    return "\n".join([*lines, note, f"signature: {signature_line(signature)}"])
