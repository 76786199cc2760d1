"""What a search leaves in its folder, and the table that it prints."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_mos.files import atomic_write
from fairseq_mos.journal import finite
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.confirm import Confirmation
from fairseq_mos.search.pareto import nondominated, pareto_front

if TYPE_CHECKING:
    from fairseq_mos.search.driver import Plan

COST_FRONTS = ("latency_ms", "flops", "params")
"""The costs against which a front of the first objective is written, where they are known."""

_HEADERS = {
    "params": ("parameters", "{:,}"),
    "params_no_embed": ("w/o embeddings", "{:,}"),
    "flops": ("MFLOPs", None),
    "latency_ms": ("ms (measured)", "{:.2f}"),
    "loss": ("loss", "{:.4f}"),
    "nll_loss": ("nll loss", "{:.4f}"),
    "bleu": ("BLEU", "{:.2f}"),
    "chrf": ("chrF", "{:.2f}"),
}


def signature_line(signature: Mapping[str, object]) -> str:
    """Returns the signature as one short text, for rows of tables."""
    return "|".join(f"{name}:{_text(value)}" for name, value in signature.items())


def fronts(evaluations: Sequence[Evaluation], plan: Plan) -> dict[str, list[Evaluation]]:
    """Returns the fronts of a search by name, each from low to high cost.

    `pareto` is the front of all objectives if there are several. The others are named by a cost and trade it
    off against the first objective. Only what was measured on the full validation set is in them.
    """
    full = [evaluation for evaluation in evaluations if evaluation.full]
    found = {}
    if len(plan.objectives) > 1:
        found["pareto"] = nondominated(full, plan.objectives)
    for cost in COST_FRONTS:
        if cost in full[0].values:
            found[cost] = pareto_front(full, cost, plan.objectives[0])
    return found


def write_results(
    folder: Path,
    evaluations: Sequence[Evaluation],
    best: Evaluation,
    plan: Plan,
    confirmations: Sequence[Confirmation] = (),
) -> None:
    """Writes `best.yaml`, `best.json`, `evaluations.csv` and `front/*.yaml`, each in one step.

    Fronts are numbered from low to high cost: `front/flops-01-DIGEST.yaml`, `front/params-01-DIGEST.yaml`,
    see :func:`fronts`. Those of an earlier, shorter run of the same search are removed.

    Raises:
        UserError: something cannot be written.
    """
    signature = plan.signature()
    found = fronts(evaluations, plan)
    best.architecture.save(folder / "best.yaml")
    with atomic_write(folder / "best.json") as stream:
        row = {**finite(best.to_dict()), "signature": signature}
        if confirmations:
            row["measured"] = [
                {
                    "digest": c.evaluation.architecture.digest(),
                    **{name: getattr(c, name) for name in ("predicted", "measured", "low", "high", "error", "holds")},
                }
                for c in confirmations
            ]
        json.dump(row, stream, indent=2)
        stream.write("\n")
    _write_csv(folder / "evaluations.csv", evaluations, found, signature)
    wanted = set()
    for name, front in found.items():
        for number, evaluation in enumerate(front, 1):
            file = folder / "front" / f"{name}-{number:02d}-{evaluation.architecture.digest()}.yaml"
            evaluation.architecture.save(file)
            wanted.add(file)
        for file in (folder / "front").glob(f"{name}-[0-9]*-*.yaml"):
            if file not in wanted:
                file.unlink()


def _write_csv(
    path: Path,
    evaluations: Sequence[Evaluation],
    found: Mapping[str, Sequence[Evaluation]],
    signature: Mapping[str, object],
) -> None:
    members = {name: {evaluation.index for evaluation in front} for name, front in found.items()}
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.values))
    with atomic_write(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["index", "digest", "origin", *names, *(f"front_{name}" for name in found)] + ["architecture", "signature"]
        )
        for evaluation in evaluations:
            writer.writerow(
                [evaluation.index, evaluation.architecture.digest(), evaluation.origin]
                + [evaluation.values.get(name, "") for name in names]
                + [int(evaluation.index in members[name]) for name in found]
                + [evaluation.architecture.to_json(), signature_line(signature)]
            )


def summary_table(rows: Sequence[tuple[str, Mapping[str, float]]], signature: Mapping[str, object]) -> str:
    """Returns a table of architectures (name, values) for the terminal, with its signature below.

    A row without measured values was outside the limits and not evaluated.
    """
    names = [name for name in _HEADERS if any(name in values for _, values in rows)]
    headers = {name: _HEADERS[name][0] for name in names}
    if "latency_predictor" in signature:
        headers["latency_ms"] = "ms (predicted)"
    cells = [["architecture", *(headers[name] for name in names)]]
    cells += [[label, *(_cell(name, values) for name in names)] for label, values in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for first, *others in cells:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    lines.insert(1, "-" * len(lines[0]))
    note = "MFLOPs: one sentence of 30/30 tokens, without the output layer; losses: base 2, inherited weights"
    return "\n".join([*lines, note, f"signature: {signature_line(signature)}"])


def _cell(name: str, values: Mapping[str, float]) -> str:
    if name not in values:
        return "-"
    return f"{values[name] / 1e6:,.1f}" if name == "flops" else _HEADERS[name][1].format(values[name])


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value)) or "none"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(item)}" for name, item in value.items())
    return str(value)
