"""What the logs of trainings tell."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

from pipeline.config import PipelineError

from fairseq_mos.report.logs import log_lines, scan_log

_TOLD = re.compile(r'"ups": "(?P<rate>[\d.]+)", "wpb": "(?P<tokens>[\d.]+)".*"num_updates": "(?P<update>\d+)"')
_VALIDATED = re.compile(r"\| valid \| (\{.*\})\s*$")

CURVE = 20
"""Points of a loss curve that are kept, about."""


def told_by(log: Path) -> dict:
    """Returns what a training's log tells: speed, tokens of an update, loss curves, how often it was started.

    Raises:
        PipelineError: nothing.
    """
    scanned = scan_log(log, "supernet")
    if not scanned.train:
        raise PipelineError(f"{log} tells of no update", 1)
    starts, tokens, rates = 0, {}, {}
    for line in log_lines(log):
        starts += line.startswith("$ ")
        told = _TOLD.search(line)
        if told:
            update = int(told["update"])
            tokens[update], rates[update] = float(told["tokens"]), float(told["rate"])
    # The median leaves out validation, and the time for which a training, or the machine, stood still.
    rate = statistics.median(rates.values()) if rates else 0.0
    return {
        "updates": scanned.updates,
        "train_seconds": scanned.updates / rate if rate else None,
        "updates_per_second": rate or None,
        "tokens_per_update": sum(tokens.values()) / len(tokens) if tokens else None,
        "starts": starts,
        "train_loss": thinned(scanned.train),
        "valid_loss": {role or "loss": thinned(curve) for role, curve in scanned.valid.items()},
    }


def thinned(curve: dict[int, float]) -> list[list[float]]:
    """Returns some points of a curve, the last one among them."""
    points = [[update, value] for update, value in sorted(curve.items())]
    return points[:: -max(1, len(points) // CURVE)][::-1]


def curve_of(log: Path) -> list[list[float]]:
    """Returns the validations that a log tells of: update, `loss` and `nll_loss` of each; of one twice the last counts.

    Raises:
        PipelineError: none.
    """
    found = {}
    for match in filter(None, map(_VALIDATED.search, log_lines(log))):
        values = json.loads(match[1])
        found[int(values["valid_num_updates"])] = [float(values["valid_loss"]), float(values["valid_nll_loss"])]
    if not found:
        raise PipelineError(f"{log} tells of no validation", 1)
    return [[update, *losses] for update, losses in sorted(found.items())]
