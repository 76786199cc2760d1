"""Search against exhaustive search on a small space: how much of the true optimum a quarter of the work finds."""

from __future__ import annotations

import math
import statistics

import pytest

from fairseq_mos.search.pareto import nondominated
from fairseq_mos.search.settings import Settings
from tests.arch.samples import mini
from tests.search.synthetic import COSTS, everything, loss_of, search

SEEDS = range(10)
BUDGET = 400
SIZES = Settings(population=40, parents=10, mutations=20, crossovers=20)
OBJECTIVES = ("loss", "flops")


def points(evaluations):
    return [tuple(e.values[name] for name in OBJECTIVES) for e in evaluations]


def hypervolume(front, reference):
    """The area that two minimised objectives dominate, up to the reference point; in closed form."""
    area, above = 0.0, reference[1]
    for x, y in sorted(front):
        if y < above and x < reference[0]:
            area += (reference[0] - x) * (above - y)
            above = y
    return area


@pytest.fixture(scope="module")
def space():
    assert len(everything(mini())) == 4 * BUDGET
    return mini()


def test_hypervolume_by_hand():
    assert hypervolume([(1, 2), (2, 1)], (3, 3)) == 3
    assert hypervolume([(1, 1), (2, 2)], (3, 3)) == 4


def test_hypervolume_is_pymoos():
    import numpy as np
    from pymoo.indicators.hv import HV

    front = [(1.0, 5.0), (2.0, 3.5), (4.0, 1.0)]
    assert hypervolume(front, (6.0, 7.0)) == pytest.approx(HV(np.array([6.0, 7.0]))(np.array(front)))


def test_exhaustive_evaluates_everything_once(tmp_path, space):
    result = search(tmp_path, algorithm="exhaustive", budget=2000)
    assert result.exhausted and {e.architecture for e in result.evaluations} == set(everything(space))
    assert result.best.values["loss"] == min(map(loss_of, everything(space)))


def test_evolution_finds_the_optimum_with_a_quarter_of_the_evaluations(tmp_path, space):
    optimum = min(map(loss_of, everything(space)))
    gaps = {
        name: statistics.median(
            search(tmp_path / f"{name}{seed}", algorithm=name, seed=seed, budget=BUDGET, settings=SIZES).best.values[
                "loss"
            ]
            - optimum
            for seed in SEEDS
        )
        for name in ("evolution", "random")
    }
    assert gaps["evolution"] == 0 <= gaps["random"]


def test_nsga2_finds_the_front_with_a_quarter_of_the_evaluations(tmp_path, space):
    everywhere = [(loss_of(arch), COSTS(arch)["flops"]) for arch in everything(space)]
    reference = tuple(1.1 * max(values) for values in zip(*everywhere))
    whole = hypervolume(everywhere, reference)
    shares = {}
    for name in ("nsga2", "random"):
        found = []
        for seed in SEEDS:
            result = search(
                tmp_path / f"{name}{seed}",
                algorithm=name,
                seed=seed,
                budget=BUDGET,
                settings=SIZES,
                objectives=OBJECTIVES,
            )
            found.append(hypervolume(points(nondominated(result.evaluations, OBJECTIVES)), reference) / whole)
        shares[name] = statistics.median(found)
    assert not math.isnan(shares["random"])
    assert shares["nsga2"] >= 0.99 and shares["nsga2"] >= shares["random"]
