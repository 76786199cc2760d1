"""Retraining in a plan: what is retrained, that nothing is repeated, and what its table says."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from pipeline import commands as pipeline_commands  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402
from reproduce import estimate, running  # noqa: E402
from reproduce.plan import draw, read_plan  # noqa: E402
from reproduce.retraining import break_even, retrained_of, updates_until  # noqa: E402
from reproduce.training_logs import curve_of  # noqa: E402
from reproduce.units import command_line, jobs_of  # noqa: E402
from test_reproduce import PLAN, TINY, commands, run, small_pool, written  # noqa: E402, F401

from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.families import family_of  # noqa: E402

BLOCK = {
    "updates": 4,
    "validate_every": 2,
    "architectures": 2,
    "variants": {"all": [], "norms": ["--trainable norms-biases"]},
}


def units(path):
    plan = read_plan(path)
    drawn = [one for _, one in draw(TINY, plan.architectures)]
    jobs = jobs_of(plan, drawn, "c")
    return jobs, retrained_of(plan, drawn, jobs)


def block(**changes):
    return {"retraining": BLOCK | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (block(architectures=4), "retraining.architectures is 4, allowed: architectures.number at most, which is 3"),
        (block(seeds=[1, 1]), "retraining.seeds holds a seed twice"),
        (block(variants={"one": ["--seed 3"]}), "retraining.variants.one holds --seed"),
        (block(validate_every=0), "retraining.validate_every: expected int >= 1"),
        (block() | {"metrics": ["bleu"]}, "metrics needs loss or nll_loss"),
    ],
)
def test_a_wrong_block_is_one_line_that_names_the_field(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        read_plan(written(tmp_path, **changes))
    assert message in str(error.value).replace("`", "") and "\n" not in str(error.value)


# --- what is retrained -------------------------------------------------------------------------------


def test_architectures_are_even_over_the_strata_and_supernets_have_the_seed(tmp_path):
    how = {"number": 9, "strata": 3}
    path = written(tmp_path, architectures=how, **block(architectures=3, seeds=[2]))
    drawn = [one for _, one in draw(TINY, read_plan(path).architectures)]
    again = units(path)[1]
    # The middle one of each, for each variant.
    assert [drawn.index(unit.architecture) for unit in again] == [1, 1, 4, 4, 7, 7]
    assert {(unit.source.method, unit.source.seed, unit.seed) for unit in again} == {("neuron", 2, 2)}
    assert {unit.flags["--seed"][0] for unit in again} == {"2"}


def test_other_digests_stay_and_one_depends_on_what_determines_the_curve(tmp_path):
    jobs, again = units(written(tmp_path, **block()))
    assert [job.digest for job in jobs] == [job.digest for job in units(written(tmp_path))[0]]
    assert units(written(tmp_path, retraining={}))[1] == []
    # Two methods, architectures and variants.
    known = {unit.digest for unit in again}
    assert len(known) == 8 and known.isdisjoint(job.training.digest for job in jobs)
    for changes in (block(updates=3), block(validate_every=1)):
        assert known.isdisjoint(unit.digest for unit in units(written(tmp_path, **changes))[1])
    saved = again[0].flags | {"--save-interval-updates": ["7"]}
    assert replace(again[0], flags=saved, variant="renamed").digest == again[0].digest


def test_a_subnet_is_the_function_that_its_supernet_was(tmp_path):
    flags = ["--routing shared", "--encoder-normalize-before", "--lr 7", "--dropout 0.7"]
    methods = {"pre": {"seeds": [1], "flags": flags}}
    path = written(tmp_path, methods=methods, flags=["--disable-validation"], **block())
    words = command_line(units(path)[1][0], tmp_path, tmp_path / "save", tmp_path / "subnet.yaml")
    assert "--encoder-normalize-before" in words
    # Its optimisation is its own, and it is validated.
    assert {"--routing", "--disable-validation", "7", "0.7"}.isdisjoint(words)
    value = dict(zip(words, words[1:]))
    assert value["--finetune-from-model"] == str(tmp_path / "inherited" / "model.pt")
    assert value["--validate-interval-updates"] == value["--save-interval-updates"] == "2"


# --- running -----------------------------------------------------------------------------------------


def test_it_comes_last_and_is_not_repeated(tmp_path, commands):  # noqa: F811
    run(written(tmp_path), tmp_path)
    folder = tmp_path / "results" / "plan"
    assert "retraining" not in (folder / "results.json").read_text() + (folder / "results.md").read_text().lower()
    assert not (folder / "retraining.csv").exists()
    run(written(tmp_path, **block()), tmp_path)
    assert commands.started == ["train", "measure"] * 9 + ["extract", "retrain"] * 8
    run(written(tmp_path, **block()), tmp_path, work="elsewhere")
    assert len(commands.started) == 34
    # Nothing but the curve is kept.
    assert len(list((tmp_path / "work").rglob("*.pt"))) == 9
    content = json.loads((folder / "results.json").read_text())
    assert (content["units"], content["done"]) == (17, 17)


def test_a_failed_one_goes_on_from_what_was_extracted(tmp_path, commands):  # noqa: F811
    commands.broken = "retrain"
    with pytest.raises(PipelineError, match="8 of 17 units failed"):
        run(written(tmp_path, **block()), tmp_path)
    commands.broken = ""
    run(written(tmp_path, **block()), tmp_path)
    assert commands.started.count("extract") == 8 and commands.started.count("retrain") == 8 * 3


def test_subnets_of_a_failed_supernet_wait_for_it(tmp_path, commands):  # noqa: F811
    commands.broken = "measure"
    with pytest.raises(PipelineError, match="9 of 17 units failed"):
        run(written(tmp_path, **block()), tmp_path)
    assert "extract" not in commands.started


def test_a_supernet_from_elsewhere_is_trained_once_for_all_its_subnets(tmp_path, commands, monkeypatch):  # noqa: F811
    methods = {"plain": PLAN["methods"]["plain"]}
    run(written(tmp_path, methods=methods), tmp_path)
    del commands.started[:]
    monkeypatch.setattr(running, "places", lambda jobs: [{}, {}])

    def slow(module, *arguments, **further):
        # Time for the other place to begin the same one, if it may.
        time.sleep(0.05)
        return commands(module, *arguments, **further)

    monkeypatch.setattr(pipeline_commands, "run", slow)
    run(written(tmp_path, methods=methods, **block()), tmp_path, work="elsewhere")
    assert [commands.started.count(kind) for kind in ("train", "extract", "retrain")] == [1, 4, 4]


def test_a_dry_run_counts_them(tmp_path, commands, monkeypatch, capsys):  # noqa: F811
    run(written(tmp_path), tmp_path)
    monkeypatch.setattr(estimate, "seconds_per_update", lambda *_: (900.0, "a clock"))
    run(written(tmp_path, **block()), tmp_path, "--dry-run")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["17", "units:", "9", "done,", "8", "missing"] in lines
    # Four of 4 updates, a quarter of an hour each, and no measurement.
    row = next(line for line in lines if line[:2] == ["retraining,", "norms"])
    assert row[2:5] + row[6:] == ["0", "4", "4.0", "a", "clock"]


def test_of_a_curve_that_was_logged_twice_the_last_counts(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("$ fairseq-train\n")
    with pytest.raises(PipelineError, match="tells of no validation"):
        curve_of(log)
    line = '2026 | INFO | valid | {{"valid_loss": "{}", "valid_nll_loss": "{}", "valid_num_updates": "{}"}}\n'
    log.write_text("".join(line.format(*values) for values in ((5, 4, 20), (4, 3, 40), (4.5, 3.5, 20))))
    assert curve_of(log) == [[20, 4.5, 3.5], [40, 4, 3]]


# --- what the table says -----------------------------------------------------------------------------


def test_updates_until_a_loss():
    curve = [(0, 5.0), (20, 4.0), (40, 3.0), (60, 3.5)]
    assert [updates_until(curve, target) for target in (6, 5, 4.5, 3.5, 2.9)] == [0, 0, 20, 40, None]


@pytest.mark.parametrize(
    ("costs", "number"), [((10, 1, 6), 3), ((9, 1, 6), 2), ((0, 1, 2), 1), ((1, 2, 2), None), ((1, 3, 2), None)]
)
def test_break_even(costs, number):
    supernet, retraining, scratch = costs
    assert break_even(*costs) == number
    cheaper = [n for n in range(1, 50) if supernet + n * retraining < n * scratch]
    assert next(iter(cheaper), None) == number


def test_results_of_known_curves(tmp_path, commands):  # noqa: F811
    path = written(tmp_path, **block())
    run(path, tmp_path)
    folder = tmp_path / "results" / "plan"
    content = json.loads((folder / "results.json").read_text())
    rows = {(row["method"], row["variant"]): row for row in content["retraining"]}
    assert len(rows) == len(content["retraining"]) == 4
    row = rows["plain", "all"]
    assert (row["gap_before"], row["gap_after"], row["reached"], row["not_reached"]) == (0.5, -0.125, 2, 0)
    assert (row["updates_until"], row["saved_percent"]) == (2, 50)
    stuck = rows["plain", "norms"]
    assert (stuck["gap_before"], stuck["gap_after"], stuck["not_reached"]) == (0.5, 0.25, 2)
    assert (stuck["updates_until"], stuck["saved_percent"], stuck["break_even_until"]) == (None, 0, None)
    # Four updates cost as much as from scratch, two of them half.
    dense = 3 * 4 * 100 / 30 * np.mean([family_of(TINY).flops(unit.architecture) for unit in units(path)[1]]) / 1e12
    assert row["scratch_teraflops"] == pytest.approx(dense) == row["retraining_teraflops"] == 2 * row["until_teraflops"]
    (supernet,) = [one["training_teraflops"] for one in content["costs"] if one["method"] == "plain"]
    assert row["break_even"] is None
    assert row["break_even_until"] == next(n for n in range(1, 999) if supernet + n * dense / 2 < n * dense)
    assert "| loss | plain | 1 | all | 2 | 0.500 | -0.125 | 0 |" in (folder / "results.md").read_text()
    assert len((folder / "retraining.csv").read_text().splitlines()) == 5
