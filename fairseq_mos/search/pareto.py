"""Pareto fronts: what no other evaluation beats in every respect."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.quantities import QUANTITIES


def nondominated(evaluations: Sequence[Evaluation], objectives: Sequence[str]) -> list[Evaluation]:
    """Returns the evaluations that no other one beats, sorted by the last cost among the objectives.

    One beats another if it is no worse in all objectives and better in one. Of equal ones the first is
    returned. Those with a value that is not a number are left out.

    Args:
        evaluations: what to choose from.
        objectives: names of :data:`fairseq_mos.search.quantities.QUANTITIES`.
    """
    points = [
        (tuple(QUANTITIES[name].fitness(e) for name in objectives), e.index, e)
        for e in evaluations
        if not any(math.isnan(e.values[name]) for name in objectives)
    ]
    front: list[tuple[tuple[float, ...], int, Evaluation]] = []
    # In this order, nothing is beaten by what comes after it.
    for point in sorted(points, key=lambda point: point[:2]):
        if not any(all(a <= b for a, b in zip(kept[0], point[0])) for kept in front):
            front.append(point)
    costs = [i for i, name in enumerate(objectives) if not QUANTITIES[name].expensive] or [0]
    front.sort(key=lambda point: (point[0][costs[-1]], point[1]))
    return [evaluation for _, _, evaluation in front]
