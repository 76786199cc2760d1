"""Fine-tuning of all dense models on GLUE tasks, by examples/glue."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bert.stages import Run, System


def tune_all(run: Run) -> None:
    """Fine-tunes every dense model on every task."""


def scores(run: Run, system: System) -> dict[str, float]:
    """Returns a dense model's scores, as `task:measure`."""
    return {}
