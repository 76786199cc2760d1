"""Numeric fields of what fairseq configures (models, tasks, criterions), each with its range."""

from __future__ import annotations

import dataclasses
from typing import Any

from fairseq_mos.ranges import Range


def ranged(default: float, text: str, allowed: Range) -> Any:
    """Makes a field of a dataclass; its help is `text`, which says the default, and the range."""
    return dataclasses.field(default=default, metadata={"help": f"{text} [{allowed}]", "range": allowed})


def check_fields(config: Any, fields: type) -> None:
    """Checks a configuration before work starts.

    Args:
        config: has the fields as attributes; one that is missing or None has no value to check.
        fields: a dataclass with fields of :func:`ranged`.

    Raises:
        UserError: a value outside its range; names the flag.
    """
    for field in dataclasses.fields(fields):
        value = getattr(config, field.name, None)
        if "range" in field.metadata and value is not None:
            field.metadata["range"].check(f"--{field.name.replace('_', '-')}", value)
