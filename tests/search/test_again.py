"""Searching on under corrected limits: what it finds, what it costs, and that it survives an interruption."""

from __future__ import annotations

import pytest

from fairseq_mos.search import again
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.settings import Settings
from tests.search.synthetic import Counter, loss_of, search
from tests.search.test_driver import contents, latency, racing

LIMIT, TOO_LOW = 4.5, 0.8
OPTIONS = {
    "budget": 40,
    "settings": Settings(population=12, parents=4, mutations=5, crossovers=5),
    "constraints": [Constraint.parse(f"latency_ms<={LIMIT}"), Constraint.parse("params>=1K")],
}


def run(folder, evaluate=None, **options):
    costs, remeasure = latency(TOO_LOW)
    return search(folder, evaluate, costs=costs, remeasure=remeasure, **{**OPTIONS, **options})


def logs(folder):
    return sorted(folder.glob("corrected-*.jsonl"))


@pytest.mark.parametrize(
    "options, better", [({}, False), ({"algorithm": "random"}, True), ({"race": racing()}, True)]
)
def test_it_finds_what_is_at_least_as_good(tmp_path, monkeypatch, options, better):
    found = run(tmp_path / "again", **options)
    monkeypatch.setattr(again, "TIMES", 0)
    once = run(tmp_path / "once", **options)
    measured = [result.best.values["latency_ms"] / TOO_LOW for result in (found, once)]
    assert max(measured) <= LIMIT
    losses = [loss_of(result.best.architecture) for result in (found, once)]
    assert losses[0] < losses[1] if better else losses[0] == losses[1]
    assert not logs(tmp_path / "once") and len(logs(tmp_path / "again")) == 1
    # A quarter of the budget, and no architecture twice; the search's own log and evaluations are the same.
    archs = [e.architecture for e in found.evaluations]
    assert len(archs) == len(set(archs)) == 50 and [e.index for e in found.evaluations] == list(range(50))
    assert archs[:40] == [e.architecture for e in once.evaluations]
    same = "evaluations.jsonl"
    assert contents(tmp_path / "again")[same] == contents(tmp_path / "once")[same]
    # All new ones keep the corrected limit and the other one.
    assert all(e.values["latency_ms"] <= LIMIT * TOO_LOW and e.values["params"] >= 1000 for e in found.evaluations[40:])


@pytest.mark.parametrize("after", [40, 45, 49])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, after):
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Counter(fail_at=after))
    rest = Counter()
    run(tmp_path / "parts", rest)
    assert len(rest.calls) == 50 - after
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    again_once = Counter()
    run(tmp_path / "parts", again_once)
    assert not again_once.calls and contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_the_search_itself_may_go_on(tmp_path):
    run(tmp_path / "whole", budget=60)
    run(tmp_path / "parts")
    run(tmp_path / "parts", budget=60)
    name = "evaluations.jsonl"
    assert contents(tmp_path / "parts")[name] == contents(tmp_path / "whole")[name]


@pytest.mark.parametrize("options", [{"minutes": 100.0}, {"algorithm": "exhaustive", "budget": 1600}, {"budget": 3}])
def test_where_there_is_nothing_to_search_on_with(tmp_path, options):
    run(tmp_path, **options)
    assert not logs(tmp_path)
