"""Digests of units stay: what is finished, or under way elsewhere, is found again by them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from reproduce.plan import draw, read_plan  # noqa: E402
from reproduce.retraining import retrained_of  # noqa: E402
from reproduce.units import digest_of, jobs_of  # noqa: E402

from fairseq_mos.arch import SearchSpace  # noqa: E402

FOLDER = ROOT / "examples" / "reproduce"
CORPUS = "6c464bc640221619"
"""Of the quickstart's built-in corpus."""


@pytest.fixture(scope="module")
def units():
    found = {}
    for file in sorted((FOLDER / "plans").glob("quickstart*.yaml")):
        plan = read_plan(file)
        drawn = [one for _, one in draw(SearchSpace.load(plan.space), plan.architectures)]
        jobs = jobs_of(plan, drawn, CORPUS)
        found[file.stem] = jobs, retrained_of(plan, drawn, jobs)
    return found


def test_trainings_and_measurements_keep_their_digests(units):
    jobs, _ = units["quickstart-1000"]
    found = {(job.training.method, job.training.seed): (job.training.digest, job.digest) for job in reversed(jobs)}
    golden = {
        ("scratch", 1): ("0d3a293dbdff4a28", "98be6a0332295cd3"),
        ("neuron", 1): ("1037d1a57c3eb5cb", "894e4415d1b6219e"),
        ("layer", 2): ("0980cb6f18df5945", "1d85462f9de9c3b4"),
        ("modulation-lr2-distil", 1): ("f2b863bb1bc8c6c7", "cd67b9b9103b4db6"),
    }
    assert {key: found[key] for key in golden} == golden
    assert len(jobs) == 71


def test_retrainings_keep_their_digests(units):
    again = {unit.name: unit.digest for unit in units["quickstart-norms"][1]}
    golden = {
        "sandwich: retraining, all fbbf7051d9d8, seed 1, 200 updates": "f1c2fe70cd81d998",
        "modulation: retraining, norms f22de137e958, seed 1, 200 updates": "f8e5cc24123a7657",
    }
    assert {name: again[name] for name in golden} == golden


def test_what_is_finished_is_a_unit_of_a_plan(units):
    known = {digest for jobs, _ in units.values() for job in jobs for digest in (job.digest, job.training.digest)}
    known |= {unit.digest for _, retrained in units.values() for unit in retrained}
    files = list((FOLDER / "results" / "units").glob("*.json"))
    assert files
    for file in files:
        spec = json.loads(file.read_text())["unit"]
        assert digest_of(spec) == file.stem
        if spec.get("corpus", CORPUS) == CORPUS and spec["kind"] in ("training", "retraining"):
            assert file.stem in known, file
