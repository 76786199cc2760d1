"""What may be a latency: one definition for all that reads one."""

from __future__ import annotations

import json

LEAST, MOST = 1e-6, 1e9
"""A nanosecond and eleven days: what a fit computes from them, squares and their inverses, are still numbers."""


def milliseconds(name: str, value: object) -> float:
    """Checks a latency.

    Args:
        name: of the field, for the message.
        value: as it was read.

    Raises:
        ValueError: no number, or none from :data:`LEAST` to :data:`MOST`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not LEAST <= value <= MOST:
        shown = json.dumps(value, default=str)
        raise ValueError(f"{name} is {shown[:40]}, expected {LEAST:g} to {MOST:g} milliseconds")
    return float(value)
