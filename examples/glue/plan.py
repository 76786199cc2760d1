"""A plan: the grid of each task, read from YAML and checked field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

from msgspec import Meta
from reproduce.plan import parse_flags
from reproduce.plan_blocks import Seeds, Strict

from fairseq_mos.documents import convert, read_yaml
from fairseq_mos.errors import UserError

Rate = Annotated[float, Meta(gt=0, le=1)]
Natural = Annotated[int, Meta(ge=1, le=1_000_000)]
FROM_MNLI = ("MRPC", "RTE")
"""Tasks that are small, and may start from a model that was fine-tuned on MNLI."""

OWN = (
    *("--lr", "--batch-size", "--max-sentences", "--max-epoch", "--max-update", "--total-num-update", "--update-freq"),
    *("--seed", "--task", "--arch", "--criterion", "--classification-head-name", "--num-classes", "--max-positions"),
    *("--regression-target", "--teacher", "--distillation-weight", "--temperature", "--init-token"),
    *("--separator-token", "--save-dir", "--restore-file", "--finetune-from-model", "--subnet", "--user-dir"),
    *("--log-format", "--log-file", "--lr-scheduler", "--warmup-updates", "--distributed-world-size"),
)
"""Flags that the runner sets itself."""


class Plan(Strict):
    """A plan.

    Attributes:
        lr: peak learning rates; they fall linearly to 0, without warm-up.
        batch: examples of an update.
        epochs: passes over the training set.
        seeds: a training of every point for each.
        from_mnli: tasks that start from the best model of MNLI instead of the pretrained one.
        flags: of fairseq-train, for all.
        max_updates: of a training, whatever its epochs; for trying things out.
    """

    lr: Annotated[list[Rate], Meta(min_length=1)]
    batch: Annotated[list[Natural], Meta(min_length=1)]
    epochs: Annotated[list[Natural], Meta(min_length=1)]
    seeds: Seeds
    from_mnli: list[Literal["MRPC", "RTE"]] = []
    flags: list[str] = []
    max_updates: Optional[Natural] = None  # noqa: UP045


def read_plan(path: Path) -> Plan:
    """Reads a plan.

    Raises:
        UserError: names the file and the field.
    """
    plan = convert(read_yaml(path, "plan"), Plan, str(path), "YAML reads 5e-5 as text: write 0.00005")
    for name in ("lr", "batch", "epochs", "seeds", "from_mnli"):
        values = getattr(plan, name)
        if len(set(values)) < len(values):
            raise UserError(f"{path}: {name} holds a value twice")
    for flag in parse_flags(plan.flags, f"{path}: flags"):
        if flag in OWN:
            raise UserError(f"{path}: flags holds {flag}, which the runner sets itself")
    return plan
