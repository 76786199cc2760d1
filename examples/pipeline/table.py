"""The results: as a table on the terminal, and as results.md, results.json and results.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.work import write_text

HEADERS = ("system", "parameters", "without embeddings", "FLOPs at 30/30", "latency", "valid loss", "BLEU", "chrF")
PINNED_HEADER = "pinned supernet"


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        system: its name.
        bleu: sacreBLEU's BLEU.
        chrf: sacreBLEU's chrF.
        parameters: all of them; None where there is no model.
        parameters_no_embed: without embeddings and output layer.
        flops: of one teacher-forced pass of 30 source and 30 target tokens, without the output layer.
        latency_ms: measured, median: 30 source tokens, 30 decoder steps at beam 5.
        latency_low_ms: its lower quartile.
        latency_high_ms: its upper quartile.
        valid_loss: label-smoothed, bits per token.
        differing: sentences that the supernet with this architecture pinned translates otherwise; None where
            that was not compared.
        architecture: digest of the architecture.
    """

    system: str
    bleu: float
    chrf: float
    parameters: int | None = None
    parameters_no_embed: int | None = None
    flops: int | None = None
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    valid_loss: float | None = None
    differing: int | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Example:
    """One sentence and its translations, system -> text."""

    source: str
    reference: str
    translations: dict[str, str]


@dataclass(frozen=True)
class Results:
    """All that a run found out.

    Attributes:
        title: of the table.
        rows: the systems.
        signature: what the numbers hold for: space, routing, data, seed, device, versions, ...
        bleu_signature: sacreBLEU's.
        chrf_signature: sacreBLEU's.
        examples: some translations.
        picture: file name of the picture, beside the results.
    """

    title: str
    rows: Sequence[Row]
    signature: dict[str, str]
    bleu_signature: str
    chrf_signature: str
    examples: Sequence[Example] = field(default_factory=tuple)
    picture: str = ""


def signature_line(signature: dict[str, str]) -> str:
    """Returns `key:value|key:value`, in the style of sacreBLEU."""
    return "|".join(f"{key}:{value}" for key, value in signature.items())


def _cells(row: Row, pinned: bool) -> list[str]:
    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    cells = [
        row.system,
        number(row.parameters),
        number(row.parameters_no_embed),
        "-" if row.flops is None else f"{row.flops / 1e6:.1f}M",
        "-" if row.latency_ms is None else f"{row.latency_ms:.1f} ms",
        "-" if row.valid_loss is None else f"{row.valid_loss:.3f}",
        f"{row.bleu:.2f}",
        f"{row.chrf:.2f}",
    ]
    if pinned:
        if row.differing is None:
            cells.append("-")
        else:
            cells.append("identical" if row.differing == 0 else f"{row.differing} differ")
    return cells


def _grid(results: Results) -> list[list[str]]:
    pinned = any(row.differing is not None for row in results.rows)
    headers = [*HEADERS, PINNED_HEADER] if pinned else list(HEADERS)
    return [headers, *(_cells(row, pinned) for row in results.rows)]


def _notes(results: Results) -> list[str]:
    notes = [
        "FLOPs = 2 x multiply-accumulates of one teacher-forced pass of 30 source and 30 target tokens, "
        "without the output layer. Latency: measured on this machine, one sentence of 30 source tokens, 30 decoder "
        "steps at beam 5, median. Valid loss: label-smoothed, bits per token.",
    ]
    if any(row.differing is not None for row in results.rows):
        notes.append(
            "Pinned supernet: whether the supernet with that architecture pinned gives the same hypotheses "
            "with the same scores as the extracted subnet."
        )
    return notes


def as_text(results: Results) -> str:
    """Returns the table for a terminal."""
    grid = _grid(results)
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    lines = []
    for line in grid:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        lines.append("  ".join(cells))
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += ["", *_notes(results)]
    lines += [f"BLEU: {results.bleu_signature}", f"chrF: {results.chrf_signature}"]
    lines.append(signature_line(results.signature))
    for example in results.examples:
        named = {"source": example.source, "reference": example.reference, **example.translations}
        width = max(map(len, named))
        lines += ["", *(f"{name.ljust(width)}  {text}" for name, text in named.items())]
    return "\n".join(lines) + "\n"


def as_markdown(results: Results) -> str:
    """Returns results.md."""
    grid = _grid(results)
    lines = [f"# {results.title}", ""]
    lines.append("| " + " | ".join(grid[0]) + " |")
    lines.append("|---|" + "---:|" * (len(grid[0]) - 1))
    lines += ["| " + " | ".join(_escape(cell) for cell in line) + " |" for line in grid[1:]]
    lines += ["", *_notes(results), ""]
    lines += [f"- BLEU: `{results.bleu_signature}`", f"- chrF: `{results.chrf_signature}`"]
    lines += [f"- {key}: {value}" for key, value in results.signature.items()]
    if results.examples:
        lines += ["", "## Example translations"]
    for example in results.examples:
        named = {"source": example.source, "reference": example.reference, **example.translations}
        lines += ["", "| | |", "|---|---|"]
        lines += [f"| {name} | {_escape(text)} |" for name, text in named.items()]
    if results.picture:
        lines += ["", "## Valid loss against latency", "", f"![Valid loss against latency]({results.picture})"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def as_json(results: Results) -> str:
    """Returns results.json."""
    return json.dumps(asdict(results), indent=2, ensure_ascii=False) + "\n"


def as_csv(results: Results) -> str:
    """Returns results.csv; every row carries its signatures."""
    stream = io.StringIO()
    signatures = {
        "bleu_signature": results.bleu_signature,
        "chrf_signature": results.chrf_signature,
        "signature": signature_line(results.signature),
    }
    rows = [{**asdict(row), **signatures} for row in results.rows]
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write_results(results: Results, folder: Path) -> list[Path]:
    """Writes all three files and returns their paths."""
    files = {
        folder / "results.md": as_markdown(results),
        folder / "results.json": as_json(results),
        folder / "results.csv": as_csv(results),
    }
    for path, text in files.items():
        write_text(path, text)
    return list(files)
