"""The commands that a run's logs tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fairseq_mos.report.logs import log_lines

_WIDTH = 100
_WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")


def run_commands(folder: Path, logs: Sequence[Path]) -> list[str]:
    """Returns the command lines in a run's logs, the oldest log's first; RUN stands for the run's folder.

    They are the lines that start with `$ `. What an example's script was called with (`run.log`) comes first,
    since it makes all the others.
    """
    found: dict[str, None] = {}
    for file in sorted(logs, key=lambda file: (file.name != "run.log", file.stat().st_mtime, file)):
        lines = (line[2:].strip() for line in log_lines(file) if line.startswith("$ "))
        found.update((line.replace(str(folder.resolve()), "RUN"), None) for line in lines)
    return list(found)


def wrapped(command: str) -> str:
    """Breaks a long command line before flags, so that it can be read and still be pasted."""
    groups: list[str] = []
    for word in _WORD.findall(command):
        if re.match(r"--?[A-Za-z]", word) or not groups:
            groups.append(word)
        else:
            groups[-1] += f" {word}"
    lines = groups[:1]
    for group in groups[1:]:
        if len(lines[-1]) + 1 + len(group) <= _WIDTH:
            lines[-1] += f" {group}"
        else:
            lines.append(f"    {group}")
    return " \\\n".join(lines)
