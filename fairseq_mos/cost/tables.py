"""Files that the verbs about cost write: JSON, and CSV whose rows say what their values depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq_mos.csv_text import csv_text
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.journal import finite


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


def write_json(path: str | Path, content: Mapping[str, object]) -> None:
    """Writes a mapping; numbers that are not finite become null.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_write(path) as stream:
        json.dump(finite(content), stream, indent=2)
        stream.write("\n")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write(csv_text(rows))


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value)) or "none"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(item)}" for name, item in value.items())
    return str(value)
