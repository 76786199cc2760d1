"""The published files of a task, checked line by line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.text import normalise, read_lines

from glue.tasks import ENDINGS, HIGHEST, LOWEST, Layout, Task

_SHOWN = 60


@dataclass
class Split:
    """The examples of a file, in its order.

    Attributes:
        path: the file.
        labels: a class, or a score, for each.
        sentences: one or two columns of sentences.
        skipped: lines of another number of columns, where the task allows some.
    """

    path: Path
    labels: list[str] = field(default_factory=list)
    sentences: list[tuple[str, ...]] = field(default_factory=list)
    skipped: int = 0


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """Returns the file of a split.

    Raises:
        PipelineError: there is none; says which names it may have.
    """
    found = [folder / f"{name}{ending}" for name in names for ending in ENDINGS]
    for path in found:
        if path.is_file():
            return path
    raise PipelineError(f"{folder} has no {' or '.join(f'{name}.tsv' for name in names)} (or the same with .gz)")


def read_split(task: Task, path: Path) -> Split:
    """Reads a file.

    Raises:
        PipelineError: names file, line and column, and what is allowed: unreadable or no UTF-8, empty, other columns,
            or a label that the task does not have.
    """
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise PipelineError(f"{path} is empty: it has no example")
    head = lines[0].split("\t")
    layout = _layout(task, path, head)
    if layout.named:
        places = {name: head.index(name) for name in (layout.label, *layout.sentences)}
        width, begin = len(head), 1
    else:
        places = {number: number for number in (layout.label, *layout.sentences)}
        width, begin = layout.columns, 0
    found = Split(path)
    for number, line in enumerate(lines[begin:], begin + 1):
        cells = line.split("\t")
        if len(cells) < width or (len(cells) > width and not layout.more):
            if task.skips:
                found.skipped += 1
                continue
            expected = f"{width}{' or more' * layout.more}" + (", as its first line" if layout.named else "")
            raise PipelineError(f"{path}: line {number} has {len(cells)} columns, expected {expected}")
        label = cells[places[layout.label]].strip()
        if not _allowed(task, label):
            column = layout.label if layout.named else places[layout.label] + 1
            allowed = ", ".join(task.labels) or f"a number from {LOWEST:g} to {HIGHEST:g}"
            raise PipelineError(f"{path}: line {number}, column {column} is {label[:_SHOWN]!r}, allowed: {allowed}")
        found.labels.append(label)
        found.sentences.append(tuple(normalise(cells[places[name]]) for name in layout.sentences))
    if not found.labels:
        raise PipelineError(f"{path} is empty: it has no example")
    return found


def _layout(task: Task, path: Path, head: list[str]) -> Layout:
    for layout in task.layouts:
        if layout.named:
            fits = {layout.label, *layout.sentences} <= set(head)
        else:
            fits = len(head) == layout.columns or (layout.more and len(head) > layout.columns)
            # A line of names that are not those above is no example.
            fits = fits and _allowed(task, head[int(layout.label)].strip())
        if fits:
            return layout
    shown = ", ".join(cell[:_SHOWN] for cell in head)[: 3 * _SHOWN]
    expected = "; or ".join(map(str, task.layouts))
    raise PipelineError(f"{path}: line 1 has the columns {shown!r}, expected for {task.name}: {expected}")


def _allowed(task: Task, label: str) -> bool:
    if not task.regression:
        return label in task.labels
    try:
        value = float(label)
    except ValueError:
        return False
    return math.isfinite(value) and LOWEST <= value <= HIGHEST
