"""Pareto fronts: what no other evaluation beats in every respect."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairseq_mos.search.archive import Evaluation


def pareto_front(evaluations: Sequence[Evaluation], cost: str, value: str = "loss") -> list[Evaluation]:
    """Returns the evaluations that no other one beats, from low to high cost.

    One beats another if it is no worse in both and better in one. Of equal ones the first is returned.

    Args:
        evaluations: what to choose from; those whose value is not a number are left out.
        cost: name of the value on one axis, less is better.
        value: name of the value on the other axis, less is better.
    """
    front: list[Evaluation] = []
    valid = [e for e in evaluations if not math.isnan(e.values[value])]
    for evaluation in sorted(valid, key=lambda e: (e.values[cost], e.values[value], e.index)):
        if not front or evaluation.values[value] < front[-1].values[value]:
            front.append(evaluation)
    return front
