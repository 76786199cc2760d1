"""Pareto fronts against the definition."""

from __future__ import annotations

import random

from fairseq_mos.search.evaluation import Evaluation
from fairseq_mos.search.pareto import nondominated
from tests.arch.samples import mini


def evaluations(points):
    arch = mini().largest()
    return [Evaluation(i, arch, "random", {"flops": f, "loss": v}) for i, (f, v) in enumerate(points)]


def test_a_front_by_hand():
    points = [(3, 1.0), (1, 5.0), (2, 6.0), (2, 3.0), (4, 1.0), (0, float("nan"))]
    found = nondominated(evaluations(points), ("flops", "loss"))
    assert [e.index for e in found] == [1, 3, 0]


def test_equal_points_count_once():
    assert [e.index for e in nondominated(evaluations([(2, 2.0), (2, 2.0)]), ("flops", "loss"))] == [0]


def test_against_the_definition():
    rng = random.Random(1)
    for _ in range(50):
        points = [(rng.randrange(8), float(rng.randrange(8))) for _ in range(20)]
        unbeaten = {
            p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
        }
        found = nondominated(evaluations(points), ("flops", "loss"))
        assert [(e.values["flops"], e.values["loss"]) for e in found] == sorted(unbeaten)
