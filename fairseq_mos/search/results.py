"""What a search leaves in its folder, and the table that it prints."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq_mos.files import atomic_write
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.pareto import pareto_front

FRONTS = ("flops", "params")
"""The costs against which a front of the loss is written."""


def signature_line(signature: Mapping[str, object]) -> str:
    """Returns the signature as one short text, for rows of tables."""
    return "|".join(f"{name}:{_text(value)}" for name, value in signature.items())


def write_results(
    folder: Path, evaluations: Sequence[Evaluation], best: Evaluation, signature: Mapping[str, object]
) -> None:
    """Writes `best.yaml`, `best.json`, `evaluations.csv` and `front/*.yaml`, each in one step.

    Fronts are numbered from low to high cost: `front/flops-01-DIGEST.yaml`, `front/params-01-DIGEST.yaml`.
    Those of an earlier, shorter run of the same search are removed.

    Raises:
        UserError: something cannot be written.
    """
    fronts = {cost: pareto_front(evaluations, cost) for cost in FRONTS}
    best.architecture.save(folder / "best.yaml")
    with atomic_write(folder / "best.json") as stream:
        json.dump({**_finite(best.to_dict()), "signature": dict(signature)}, stream, indent=2)
        stream.write("\n")
    _write_csv(folder / "evaluations.csv", evaluations, fronts, signature)
    wanted = set()
    for cost, front in fronts.items():
        for number, evaluation in enumerate(front, 1):
            file = folder / "front" / f"{cost}-{number:02d}-{evaluation.architecture.digest()}.yaml"
            evaluation.architecture.save(file)
            wanted.add(file)
        for file in (folder / "front").glob(f"{cost}-[0-9]*-*.yaml"):
            if file not in wanted:
                file.unlink()


def _write_csv(
    path: Path,
    evaluations: Sequence[Evaluation],
    fronts: Mapping[str, Sequence[Evaluation]],
    signature: Mapping[str, object],
) -> None:
    members = {cost: {evaluation.index for evaluation in front} for cost, front in fronts.items()}
    names = list(evaluations[0].values)
    with atomic_write(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["index", "digest", "origin", *names, *(f"front_{cost}" for cost in fronts)]
            + ["architecture", "signature"]
        )
        for evaluation in evaluations:
            writer.writerow(
                [evaluation.index, evaluation.architecture.digest(), evaluation.origin]
                + [evaluation.values[name] for name in names]
                + [int(evaluation.index in members[cost]) for cost in fronts]
                + [evaluation.architecture.to_json(), signature_line(signature)]
            )


def summary_table(rows: Sequence[tuple[str, Mapping[str, float]]], signature: Mapping[str, object]) -> str:
    """Returns a table of architectures (name, values) for the terminal, with its signature below.

    A row whose values have no loss was outside the limits and not evaluated.
    """
    header = ("architecture", "parameters", "w/o embeddings", "MFLOPs", "loss", "nll loss")
    cells = [header]
    for name, values in rows:
        cells.append(
            (
                name,
                f"{values['params']:,}",
                f"{values['params_no_embed']:,}",
                f"{values['flops'] / 1e6:,.1f}",
                *(f"{values[key]:.4f}" if key in values else "-" for key in ("loss", "nll_loss")),
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for first, *others in cells:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    lines.insert(1, "-" * len(lines[0]))
    note = "MFLOPs: one sentence of 30/30 tokens, without the output layer; losses: base 2, inherited weights"
    return "\n".join([*lines, note, f"signature: {signature_line(signature)}"])


def _finite(row: dict) -> dict:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value)) or "none"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(item)}" for name, item in value.items())
    return str(value)
