"""python -m reproduce.evidence: writes the claims into docs/evidence.md, from the results of the plans."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import ROOT, PipelineError, guarded

from fairseq_mos.documents import read_json
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.markdown import code, escape
from fairseq_mos.paths import is_file
from fairseq_mos.tables import markdown_lines
from reproduce.claims import claim_rows
from reproduce.page import command, shown
from reproduce.plan import read_plan

FOLDER = ROOT / "examples" / "reproduce"
PAGE = ROOT / "docs" / "evidence.md"
BEGIN, END = "<!-- claims: made by python -m reproduce.evidence -->", "<!-- end of claims -->"


def claims_table(plans: Path, results: Path) -> str:
    """Returns the claims of all plans, a table for each plan that has some and results.

    Args:
        plans: folder of plans.
        results: results folder.

    Raises:
        UserError: a damaged plan or result.
    """
    parts = []
    for file in sorted(plans.glob("*.yaml")):
        plan = read_plan(file)
        kept = results / file.stem / "results.json"
        content = read_json(kept, "results") if is_file(kept) else {}
        rows = content.get("claims") or claim_rows(plan, None, (), ())
        line = code(command(file.stem))
        if rows and not content:
            # Lines without figures would hide those that have some.
            claims = len({row["claim"] for row in rows})
            parts += [f"{line}: not begun; claims: {claims}.", ""]
        elif rows:
            grid = [["claim", "metric", "state", "value", "limit", "seeds", "archs"], *map(line_of, rows)]
            made = f", made at {', '.join(content['commits'])}" if content.get("commits") else ""
            done = f"{content['done']} of {content['units']} units are in{made}."
            parts += [f"{line}: {done}", "", *markdown_lines(grid), ""]
    return "\n".join(parts).rstrip()


def line_of(row: Mapping) -> list[str]:
    """Returns the cells of a claim."""
    value = shown(row.get("value"))
    if value and row.get("low") is not None:
        value += f" ({shown(row['low'])} to {shown(row['high'])})"
    cells = [row["claim"], row["metric"], row["verdict"], value]
    return [*map(escape, cells), *(shown(row.get(name)) for name in ("limit", "seeds", "architectures"))]


def filled(page: str, table: str) -> str:
    """Returns a page with the table between its marks.

    Raises:
        UserError: it has no marks.
    """
    head, mark, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (mark and end):
        raise UserError(f"{PAGE} lacks the lines {BEGIN!r} and {END!r}, between which the table is written")
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def main() -> int:
    """Writes the table; the exit code is 2 for a damaged file."""

    def run() -> None:
        try:
            text = filled(PAGE.read_text("utf-8"), claims_table(FOLDER / "plans", FOLDER / "results"))
            with atomic_write(PAGE) as stream:
                stream.write(text)
        except UserError as error:
            raise PipelineError(str(error)) from error

    return guarded("reproduce.evidence", run)


if __name__ == "__main__":
    sys.exit(main())
