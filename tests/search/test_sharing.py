"""A search that shares what candidates have in common: the same values, rows, replays and races as one by one."""

from __future__ import annotations

import random

import pytest
import torch

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.families.translation.losses import batch_loss
from fairseq_mos.search.evaluator import LossEvaluator
from fairseq_mos.search.settings import Settings
from tests import toy
from tests.search.synthetic import search
from tests.search.test_driver import contents


def evaluator(routing: str, batches: int = 2) -> LossEvaluator:
    model = toy.supernet(routing).eval()
    criterion = SupernetLabelSmoothedCrossEntropy(toy.task(), False, 0.1).eval()
    made = [toy.batch(2, seed=seed) for seed in range(batches)]
    return LossEvaluator(model, made, batch_loss(criterion, model), "", "", "valid", 100, "fp32")


SETTINGS = Settings(population=8, parents=3, mutations=3, crossovers=3)
OPTIONS = {"budget": 18, "settings": SETTINGS, "algorithm": "evolution"}


def run(folder, found: LossEvaluator, told: bool, races: bool = False, stop_after: int | None = None):
    calls = []

    def counted(measure):
        def call(*arguments):
            if len(calls) == stop_after:
                raise KeyboardInterrupt
            calls.append(arguments[0])
            return measure(*arguments)

        return call

    heard = []

    def expect(architectures):
        heard.append(list(architectures))
        found.expect(architectures)

    def race(architecture, incumbent):
        return counted(found.race)(architecture, incumbent)

    chosen = {"race": race if races else None, "expect": expect if told else None}
    search(folder, counted(found.evaluate), found.space, **chosen, **OPTIONS)
    return calls, heard


@pytest.mark.parametrize("routing", ["shared", "layer", "neuron"])
def test_a_search_writes_what_it_writes_one_by_one(tmp_path, routing):
    alone, shared = evaluator(routing), evaluator(routing)
    run(tmp_path / "alone", alone, told=False)
    calls, heard = run(tmp_path / "shared", shared, told=True)
    assert contents(tmp_path / "alone") == contents(tmp_path / "shared")
    # Each generation is announced as it comes, and nothing beyond the budget.
    assert [architecture for generation in heard for architecture in generation] == calls
    assert shared.recall.recalled > 0 == alone.recall.recalled and shared.recall.held == 0


def test_races_end_where_they_end_one_by_one(tmp_path):
    alone, shared = evaluator("shared", 9), evaluator("shared", 9)
    run(tmp_path / "alone", alone, told=False, races=True)
    run(tmp_path / "shared", shared, told=True, races=True)
    assert contents(tmp_path / "alone") == contents(tmp_path / "shared")
    assert b'"raced": 1' in contents(tmp_path / "shared")["evaluations.jsonl"]


def test_interrupted_and_continued_equals_uninterrupted_and_only_what_is_left_is_announced(tmp_path):
    run(tmp_path / "whole", evaluator("shared"), told=True)
    for after in (3, 11):
        folder = tmp_path / str(after)
        with pytest.raises(KeyboardInterrupt):
            run(folder, evaluator("shared"), told=True, stop_after=after)
        calls, heard = run(folder, evaluator("shared"), told=True)
        assert [a for generation in heard for a in generation] == calls and len(calls) == 18 - after
        assert contents(folder) == contents(tmp_path / "whole")


def test_evaluating_others_in_between_changes_nothing():
    found = evaluator("shared")
    rng = random.Random(3)
    archs = list(dict.fromkeys(found.space.sample(rng) for _ in range(6)))
    expected = [found.evaluate(arch) for arch in archs]
    found.expect(archs[:4])
    order = [archs[0], archs[5], archs[1], archs[0], archs[4], archs[3], archs[2]]
    assert [found.evaluate(arch) for arch in order] == [expected[archs.index(arch)] for arch in order]
    # Whoever uses the model otherwise sees nothing of what is kept.
    assert all(layer.recall is None for layer in (*found.model.encoder.layers, *found.model.decoder.layers))
    with torch.no_grad():
        found.model.activate(archs[1])
        assert found.model(**found.batches[0]["net_input"])[0].isfinite().all()
