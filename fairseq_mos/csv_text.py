"""Tables as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from fairseq_mos.errors import printable


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Returns rows as CSV, a line each: what no line can hold is escaped.

    Python's writer leaves a carriage return bare, which every reader takes for the end of the row.

    Args:
        rows: column -> cell; a column is wherever one of them has it, and empty in the others.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: printable(cell) if isinstance(cell, str) else cell for name, cell in row.items()})
    return stream.getvalue()
