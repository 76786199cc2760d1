"""Random and evolutionary search on a space that can be listed."""

from __future__ import annotations

import random

import pytest

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.search.algorithms import evolution
from fairseq_mos.search.candidates import NothingNew, Problem
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.settings import Settings
from tests.arch.samples import mini
from tests.search.synthetic import COSTS, Counter, everything, loss_of, search

SMALL = Settings(population=12, parents=4, mutations=5, crossovers=5)
LIMITS = [Constraint.parse("params<=5K"), Constraint.parse("flops>=250K")]


def inside(limits):
    return [arch for arch in everything(mini()) if all(c.met(COSTS(arch)) for c in limits)]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("limits", [[], LIMITS], ids=["free", "limited"])
def test_evolution_finds_the_optimum(tmp_path, seed, limits):
    optimum = min(map(loss_of, inside(limits)))
    result = search(tmp_path, seed=seed, budget=200, constraints=limits, settings=SMALL)
    assert result.best.values["loss"] == optimum
    assert len(result.evaluations) == 200


def test_evolution_beats_random_search_at_equal_budget(tmp_path):
    means = {}
    for name in ("random", "evolution"):
        losses = []
        for seed in range(6):
            folder = tmp_path / f"{name}{seed}"
            result = search(folder, algorithm=name, seed=seed, budget=60, settings=SMALL)
            losses.append(result.best.values["loss"])
        means[name] = sum(losses) / len(losses)
    assert means["evolution"] < means["random"] - 0.01


@pytest.mark.parametrize("algorithm", ["random", "evolution", "nsga2", "exhaustive"])
def test_each_architecture_once_and_all_within_the_limits(tmp_path, algorithm):
    evaluate = Counter()
    result = search(
        tmp_path, evaluate, algorithm=algorithm, budget=150, constraints=LIMITS, settings=SMALL
    )
    assert len(set(evaluate.calls)) == len(evaluate.calls) == 150
    assert [e.architecture for e in result.evaluations] == evaluate.calls
    assert all(c.met(COSTS(arch)) for arch in evaluate.calls for c in LIMITS)


@pytest.mark.parametrize("algorithm", ["random", "evolution"])
def test_the_ends_come_first_where_they_are_within_the_limits(tmp_path, algorithm):
    space = mini()
    free = search(tmp_path / "free", algorithm=algorithm, budget=30)
    assert [(e.origin, e.architecture) for e in free.evaluations[:2]] == [
        ("largest", space.largest()),
        ("smallest", space.smallest()),
    ]
    limit = Constraint.parse(f"params<{COSTS(space.largest())['params']}")
    limited = search(tmp_path / "limited", algorithm=algorithm, budget=30, constraints=[limit])
    assert [e.origin for e in limited.evaluations[:2]] == ["smallest", "random"]


def test_generations_have_the_published_shape(tmp_path):
    origins = [e.origin for e in search(tmp_path, budget=12 + 2 * 10 + 3, settings=SMALL).evaluations]
    generation = ["mutation"] * 5 + ["crossover"] * 5
    assert origins == ["largest", "smallest"] + ["random"] * 10 + 2 * generation + ["mutation"] * 3


def test_children_come_from_the_best():
    """Without mutation, every gene of a child is one of its parents', which are the best so far."""
    space = mini()
    problem = Problem(space, lambda arch: 0.0, random.Random(5))
    algorithm = evolution(problem, Settings(population=20, parents=3, mutations=0, crossovers=4))
    batch = next(algorithm)
    first = [space.from_genes(genes) for _, genes in batch.candidates]
    assert len(first) == 20 and batch.keep == 3
    parents = sorted(first, key=lambda a: (loss_of(a), first.index(a)))[:3]
    children = algorithm.send([(loss_of(arch),) for arch in first]).candidates
    for origin, genes in children:
        child = space.from_genes(genes)
        assert origin in ("crossover", "random") and child not in first
        if origin == "crossover":
            assert child.encoder.embed_dim in {p.encoder.embed_dim for p in parents}
            assert child.decoder.embed_dim in {p.decoder.embed_dim for p in parents}
            assert child.encoder.layers in {p.encoder.layers for p in parents}
            assert child.decoder.layers in {p.decoder.layers for p in parents}
    assert len(children) == 4 and any(origin == "crossover" for origin, _ in children)


def test_mutation_redraws_each_gene_with_its_probability():
    space = mini()
    parent = space.to_genes(space.largest())

    def child(seed):
        # Fresh problem forget what they gave: every child is the first one.
        return Problem(space, lambda arch: 0.0, random.Random(seed)).mutate([parent], 0.3)

    children = [child(seed) for seed in range(4000)]
    for place, gene in enumerate(space.genes):
        # A redrawn gene keeps its value in one of len(choices) cases.
        expected = 0.3 * (1 - 1 / len(gene.choices))
        changed = sum(child[place] != parent[place] for child in children) / len(children)
        assert changed == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("algorithm", ["random", "evolution", "nsga2", "exhaustive"])
def test_a_space_smaller_than_the_budget_is_searched_completely(tmp_path, algorithm):
    limits = [Constraint.parse("params<=3000")]
    wanted = set(inside(limits))
    assert 5 < len(wanted) < 150
    result = search(tmp_path, algorithm=algorithm, budget=500, constraints=limits, settings=SMALL)
    assert result.exhausted
    assert {e.architecture for e in result.evaluations} == wanted
    assert result.best.values["loss"] == min(map(loss_of, wanted))


def test_a_thin_window_of_a_large_space_is_reached_by_repair():
    """One uniform draw in tens of thousands is inside."""
    space = SearchSpace.load("wmt")
    lowest = COSTS(space.smallest())["flops"]
    limits = [Constraint("flops", ">=", lowest * 1.06), Constraint("flops", "<=", lowest * 1.07)]

    def violation(arch):
        costs = COSTS(arch)
        return sum(c.violation(costs) for c in limits)

    seen = set()
    problem = Problem(space, violation, random.Random(0))
    for _ in range(3):
        arch = space.from_genes(problem.draw())
        assert violation(arch) == 0 and arch not in seen
        seen.add(arch)
    assert problem.repaired > 0


def test_an_empty_region_of_a_large_space_ends():
    problem = Problem(SearchSpace.load("tiny"), lambda arch: 1.0, random.Random(0))
    with pytest.raises(NothingNew):
        problem.draw()


@pytest.mark.parametrize("constraint", ["params<=1000", "flops<10", "params>=1G"])
def test_an_impossible_limit_names_the_reachable_value(tmp_path, constraint):
    evaluate = Counter()
    with pytest.raises(UserError, match="reachable value is [0-9]+ "):
        search(tmp_path / "out", evaluate, constraints=[Constraint.parse(constraint)])
    assert not evaluate.calls and not (tmp_path / "out").exists()


def test_limits_that_only_together_are_impossible(tmp_path):
    limits = [Constraint.parse("params<=3500"), Constraint.parse("flops>=400K")]
    for limit in limits:
        assert inside([limit]), limit
    assert not inside(limits)
    with pytest.raises(UserError, match="limits params<=3500, flops>=400000 was found: nearest is"):
        search(tmp_path, constraints=limits)


def test_a_loss_that_is_not_a_number_never_wins(tmp_path):
    def evaluate(arch):
        loss = float("nan") if arch.encoder.embed_dim == 8 else loss_of(arch)
        return {"loss": loss, "nll_loss": loss}

    for _ in range(2):  # the second time from the log
        result = search(tmp_path, evaluate, budget=100, settings=SMALL)
        assert result.best.architecture.encoder.embed_dim == 16
    assert any(e.values["loss"] != e.values["loss"] for e in result.evaluations)


def test_settings_shrink_with_the_budget():
    published = Settings()
    assert published == Settings(125, 25, 50, 50, 0.3)
    assert published.fit(250) == published
    assert published.fit(100) == Settings(25, 5, 10, 10, 0.3)
    for budget in range(1, 250):
        small = published.fit(budget)
        assert small.parents <= small.population <= max(2, budget // 2)
        assert min(small.mutations, small.crossovers) >= 1


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"population": 0}, "--population is 0"),
        ({"parents": 0}, "--parents is 0"),
        ({"parents": 126}, "--parents is 126"),
        ({"mutations": -1}, "--mutations is -1"),
        ({"mutations": 0, "crossovers": 0}, "--mutations and --crossovers"),
        ({"mutation_prob": 1.5}, "--mutation-prob is 1.5"),
    ],
)
def test_settings_that_make_no_search(values, flag):
    with pytest.raises(UserError, match=flag):
        Settings(**values)
