"""Tables, as text for a terminal, as Markdown and as CSV, and JSON: the one writer of what the verbs leave."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq_mos.errors import UserError, printable
from fairseq_mos.files import atomic_write
from fairseq_mos.journal import finite

Grid = Sequence[Sequence[str]]
"""Lines of cells; the first line holds the headers, the first column names."""


def check_ending(output: str | Path, ending: str) -> None:
    """Checks the name of a file to write, beside which others with its name will lie.

    Raises:
        UserError: it ends otherwise.
    """
    if not str(output).endswith(ending):
        raise UserError(f"--output is {output}, allowed: a file that ends in {ending}")


def signature_line(signature: Mapping[str, object]) -> str:
    """Returns a signature as one short text, for rows of tables."""
    return "|".join(f"{name}:{_text(value)}" for name, value in signature.items())


def text_lines(grid: Grid) -> list[str]:
    """Returns a table's lines for a terminal, columns aligned: names on the left, numbers on the right."""
    widths = [max(map(len, column)) for column in zip(*grid)]
    return [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
        for line in grid
    ]


def markdown_lines(grid: Grid) -> list[str]:
    """Returns a table's lines in Markdown; its cells have to be Markdown."""
    head, *lines = ["| " + " | ".join(line) + " |" for line in grid]
    return [head, "|---|" + "---:|" * (len(grid[0]) - 1), *lines]


def csv_text(rows: Sequence[Mapping[str, object]], names: Sequence[str] | None = None) -> str:
    """Returns rows as CSV, a line each; by default with every column that one of them has, in order of appearance.

    What no line can hold is escaped: Python's writer leaves a carriage return bare, which readers take for a row's end.
    """
    stream = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row) if names is None else names
    writer = csv.DictWriter(stream, list(names), restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: printable(cell) if isinstance(cell, str) else cell for name, cell in row.items()})
    return stream.getvalue()


def json_text(content: object) -> str:
    """Returns JSON; values of a mapping that are no finite numbers become null."""
    return json.dumps(finite(content) if isinstance(content, Mapping) else content, indent=2) + "\n"


def write_json(path: str | Path, content: object) -> None:
    """Writes :func:`json_text`.

    Raises:
        UserError: it cannot be written.
    """
    _write(path, json_text(content))


def write_csv(path: str | Path, rows: Sequence[Mapping[str, object]], names: Sequence[str] | None = None) -> None:
    """Writes :func:`csv_text`.

    Raises:
        UserError: it cannot be written.
    """
    _write(path, csv_text(rows, names))


def _write(path: str | Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text)


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value)) or "none"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(item)}" for name, item in value.items())
    return str(value)
