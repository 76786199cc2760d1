"""The results of an evaluation as JSON, CSV, Markdown and text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fairseq_mos.csv_text import csv_text
from fairseq_mos.files import atomic_write
from fairseq_mos.markdown import code, escape
from fairseq_mos.metrics.scores import Score

TITLES = {
    "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "comet": "COMET",
    "bleu_tok_compound": "tokenised BLEU, compounds split",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One system on one test set.

    Attributes:
        system: its name.
        test_set: the test set's name.
        scores: metric -> score.
        costs: `params`, `params_no_embed`, `flops`, `latency_ms` and its quartiles `latency_low_ms` and
            `latency_high_ms`, as far as they are known.
        latency_signature: how latency was measured, or empty.
        signature: what the translations depend on: model, decoding, versions.
    """

    system: str
    test_set: str
    scores: Mapping[str, Score]
    costs: Mapping[str, float] = field(default_factory=dict)
    latency_signature: str = ""
    signature: str = ""

    def flat(self) -> dict[str, object]:
        """Returns one flat record."""
        record: dict[str, object] = {"system": self.system, "test_set": self.test_set, **self.costs}
        for name, score in self.scores.items():
            record[name] = score.score
            for part in ("low", "high", "p_value"):
                if getattr(score, part) is not None:
                    record[f"{name}_{part}"] = getattr(score, part)
            record[f"{name}_signature"] = score.signature
            if score.test is not None:
                record[f"{name}_test"] = score.test
        if self.latency_signature:
            record["latency_signature"] = self.latency_signature
        record["signature"] = self.signature
        return record


def _interval(score: Score, digits: int) -> str:
    text = f"{score.score:.{digits}f}"
    if score.low is not None:
        text += f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    if score.p_value is not None:
        text += f" (p = {score.p_value:.3f})"
    return text


def _grid(rows: Sequence[Row]) -> list[list[str]]:
    metrics = list(dict.fromkeys(name for row in rows for name in row.scores))
    latency = any("latency_ms" in row.costs for row in rows)
    headers = ["system", "parameters", "without embeddings", "FLOPs at 30/30"]
    headers += ["latency"] * latency + [TITLES[name] for name in metrics]
    grid = [headers]
    for row in rows:
        cells = [row.system]
        cells += [f"{int(row.costs[name]):,}" if name in row.costs else "-" for name in ("params", "params_no_embed")]
        cells.append(f"{row.costs['flops'] / 1e6:.1f}M" if "flops" in row.costs else "-")
        if latency:
            names = ("latency_ms", "latency_low_ms", "latency_high_ms")
            measured = [f"{row.costs[name]:.1f}" for name in names if name in row.costs]
            cells.append("{} ms [{}, {}]".format(*measured) if measured else "-")
        for name in metrics:
            digits = 4 if name == "comet" else 2
            cells.append(_interval(row.scores[name], digits) if name in row.scores else "-")
        grid.append(cells)
    return grid


def _by_test_set(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.test_set, []).append(row)
    return found


def signatures(rows: Sequence[Row]) -> list[str]:
    """Returns every signature once, with what it is of."""
    lines = dict.fromkeys(f"{TITLES[name]}: {score.signature}" for row in rows for name, score in row.scores.items())
    tests = ((name, score) for row in rows for name, score in row.scores.items() if score.test)
    lines.update(dict.fromkeys(f"{TITLES[name]}, paired test: {score.test}" for name, score in tests))
    lines.update(dict.fromkeys(f"latency: {row.latency_signature}" for row in rows if row.latency_signature))
    lines.update(dict.fromkeys(f"translations: {row.signature}" for row in rows if row.signature))
    return list(lines)


def note(rows: Sequence[Row]) -> str:
    """Returns what a reader has to know of what the tables hold."""
    scores = [score for row in rows for score in row.scores.values()]
    parts = {
        "In brackets: 95 % confidence interval (bootstrap).": any(score.low is not None for score in scores),
        "Latency: median and quartiles of one sentence.": any("latency_ms" in row.costs for row in rows),
        "p: of the difference to the first system.": any(score.p_value is not None for score in scores),
        "TER: low is good.": any(score.metric == "ter" for score in scores),
        "FLOPs: 2 x multiply-accumulates of 30 source and 30 target tokens, without the output layer.": any(
            "flops" in row.costs for row in rows
        ),
    }
    return " ".join(text for text, holds in parts.items() if holds)


def as_text(rows: Sequence[Row]) -> str:
    """Returns tables for a terminal."""
    lines = []
    for test_set, part in _by_test_set(rows).items():
        grid = _grid(part)
        widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
        lines.append(f"test set {test_set}")
        for line in grid:
            cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
            lines.append("  ".join(cells))
        lines.append("")
    return "\n".join([*lines, note(rows), *signatures(rows)])


def as_markdown(rows: Sequence[Row]) -> str:
    """Returns tables in Markdown."""
    lines = ["# Evaluation", ""]
    for test_set, part in _by_test_set(rows).items():
        # Names alone come from users.
        grid = [[escape(line[0]), *line[1:]] for line in _grid(part)]
        lines += [f"## {escape(test_set)}", "", "| " + " | ".join(grid[0]) + " |"]
        lines += ["|---|" + "---:|" * (len(grid[0]) - 1)]
        lines += ["| " + " | ".join(line) + " |" for line in grid[1:]] + [""]
    return "\n".join([*lines, note(rows), "", *(f"- {code(line)}" for line in signatures(rows))]) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """Returns one record a system and test set."""
    return csv_text([row.flat() for row in rows])


def as_json(rows: Sequence[Row]) -> str:
    """Returns all rows with all fields."""
    return (
        json.dumps([{**asdict(row), "scores": {n: asdict(s) for n, s in row.scores.items()}} for row in rows], indent=2)
        + "\n"
    )


_WRITERS = {"json": as_json, "csv": as_csv, "md": as_markdown}


def table_files(folder: Path) -> list[Path]:
    """Returns what :func:`write_tables` writes."""
    return [folder / f"scores.{ending}" for ending in _WRITERS]


def write_tables(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Writes `scores.json`, `.csv` and `.md`."""
    for file, write in zip(table_files(folder), _WRITERS.values()):
        with atomic_write(file) as stream:
            stream.write(write(rows))
    return table_files(folder)
