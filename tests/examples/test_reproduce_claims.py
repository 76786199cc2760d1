"""Claims: the rule, what it needs, and the page of evidence that says what the results say."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce import evidence  # noqa: E402
from reproduce.claims import UNDECIDED, claim_rows, saved, verdict  # noqa: E402
from reproduce.comparison import Comparison, gap_rows, summary_rows  # noqa: E402
from reproduce.costs import counts_of  # noqa: E402
from reproduce.plan import read_plan  # noqa: E402
from reproduce.results import write_results  # noqa: E402
from test_reproduce import PLAN, TINY, small_pool, written  # noqa: E402, F401
from test_reproduce_summary import SCRATCH, measured  # noqa: E402, F401

from fairseq_mos.errors import UserError  # noqa: E402

SMALLER = {"claim": "neuron is closer", "method": "neuron", "than": "plain", "metrics": ["loss", "bleu"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "layer"}, "claims[0].method: 'layer', allowed: 'plain', 'neuron'"),
        ({"than": "layer"}, "claims[0].than: 'layer', allowed: '', 'plain', 'neuron'"),
        ({"metrics": ["chrf"]}, "claims[0].metrics: 'chrf', allowed: 'loss', 'bleu'"),
        ({"by": "saved_percent"}, "claims[0].metrics: 'bleu', allowed: 'loss', 'nll_loss'"),
        ({"by": "saved_percent", "metrics": ["loss"], "than": ""}, "claims[0].variant: '', allowed: none"),
        ({"variant": "all"}, "claims[0].variant: 'all', allowed: ''"),
    ],
)
def test_a_claim_that_the_plan_cannot_answer_is_one_line(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        read_plan(written(tmp_path, claims=[SMALLER | changes]))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("low", "high", "less", "strict", "expected"),
    [
        (0.1, 0.5, True, False, "reproduced"),
        (0.1, 0.5, True, True, UNDECIDED),
        (0.1, 0.4, True, True, "reproduced"),
        (0.1, 0.6, True, False, UNDECIDED),
        (0.5, 0.6, True, False, UNDECIDED),
        (0.5, 0.6, True, True, "not reproduced"),
        (0.6, 0.7, True, False, "not reproduced"),
        (0.5, 0.6, False, False, "reproduced"),
        (0.5, 0.6, False, True, UNDECIDED),
        (0.1, 0.5, False, True, "not reproduced"),
        (0.1, 0.4, False, False, "not reproduced"),
        (None, None, True, False, UNDECIDED),
        (math.nan, math.nan, False, False, UNDECIDED),
    ],
)
def test_a_verdict_is_where_the_whole_interval_is(low, high, less, strict, expected):
    assert verdict(low, high, 0.5, less, strict) == expected


def answers(measured, claims, tmp_path, again=()) -> dict:  # noqa: F811
    _, drawn, jobs, finished = measured
    methods = {name: {**PLAN["methods"][name], "seeds": [1, 2]} for name in PLAN["methods"]}
    plan = read_plan(written(tmp_path, "asked.yaml", methods=methods, claims=claims))
    found = Comparison(drawn, jobs, finished)
    # A second seed of the first method, a little better.
    rows = {name: {**row, "loss": row["loss"] - 0.01} for name, row in found.values["plain", 1].items()}
    found.values["plain", 2] = rows
    summary = summary_rows(plan, found, gap_rows(plan, found, [counts_of(one) for _, one in drawn]))
    return {(row["claim"], row["metric"]): row for row in claim_rows(plan, found, summary, again)}


def test_claims_on_known_values(measured, tmp_path):  # noqa: F811
    claims = [
        SMALLER | {"metrics": ["loss"]},
        {"claim": "plain is in the noise", "method": "plain"},
        {"claim": "plain ranks", "method": "plain", "by": "tau", "at_least": 0.9},
        {"claim": "plain ranks better", "method": "plain", "than": "neuron", "by": "tau"},
    ]
    rows = answers(measured, claims, tmp_path)
    row = rows["neuron is closer", "loss"]
    assert (row["verdict"], row["seeds"], row["architectures"], row["limit"]) == (UNDECIDED, "2/2", 3, 0)
    assert row["value"] == pytest.approx(3.3 / 6 - 0.495) and row["low"] < 0 < row["high"]
    noise = rows["plain is in the noise", "loss"]
    assert (noise["verdict"], noise["limit"]) == ("not reproduced", pytest.approx(0.2 / 3))
    assert (noise["low"], noise["high"]) == pytest.approx((0.49, 0.5))
    ranks = rows["plain ranks", "loss"]
    assert (ranks["verdict"], ranks["value"], ranks["rule"]) == ("reproduced", 1, "tau of plain >= 0.9")
    # Both rank perfectly: no better.
    assert rows["plain ranks better", "loss"]["verdict"] == "not reproduced"


def test_one_seed_or_a_missing_architecture_decides_nothing(measured, tmp_path):  # noqa: F811
    plan, drawn, jobs, finished = measured
    asked = read_plan(written(tmp_path, "asked.yaml", claims=[{"claim": "close", "method": "plain"}]))
    found = Comparison(drawn, jobs, finished)
    summary = summary_rows(plan, found, gap_rows(plan, found, [counts_of(one) for _, one in drawn]))
    (row,) = claim_rows(asked, found, summary, ())
    assert (row["verdict"], row["seeds"], row["low"]) == (UNDECIDED, "1", pytest.approx(0.5))
    (unknown,) = claim_rows(asked, None, (), ())
    assert unknown["verdict"] == UNDECIDED and "value" not in unknown
    for seed in (1, 2):
        del found.values["scratch", seed][drawn[0][1].digest()]
    asked = read_plan(written(tmp_path, "asked.yaml", claims=[{"claim": "close", "method": "neuron"}]))
    (row,) = claim_rows(asked, found, summary_rows(plan, found, gap_rows(plan, found, COUNTS)), ())
    assert (row["verdict"], row["architectures"]) == (UNDECIDED, 2)


COUNTS = [{"params": 1, "flops": 1}, {"params": 2, "flops": 2}, {"params": 3, "flops": 3}]


def test_what_retraining_saves_is_of_all_seeds(tmp_path):
    claim = {"claim": "saves", "method": "plain", "by": "saved_percent", "variant": "all", "at_least": 60}
    retraining = {"variants": {"all": []}, "architectures": 2}
    plan = read_plan(written(tmp_path, retraining=retraining, claims=[claim]))
    row = {"metric": "loss", "method": "plain", "variant": "all", "architectures": 2}
    rows = [row | {"saved_percent": 70.0, "saved_low": 65.0, "saved_high": 75.0}]
    assert saved(plan, plan.claims[0], "loss", rows)["verdict"] == UNDECIDED
    rows.append(row | {"saved_percent": 80.0, "saved_low": 62.0, "saved_high": 81.0})
    found = saved(plan, plan.claims[0], "loss", rows)
    assert (found["verdict"], found["value"], found["low"], found["high"]) == ("reproduced", 75, 62, 81)
    assert saved(plan, plan.claims[0], "loss", [one | {"architectures": 1} for one in rows])["verdict"] == UNDECIDED
    assert saved(plan, plan.claims[0], "nll_loss", rows) == {}


# --- the page ----------------------------------------------------------------------------------------


def test_the_table_has_results_and_what_has_none(measured, tmp_path):  # noqa: F811
    _, drawn, jobs, finished = measured
    for place, job in enumerate(jobs):
        finished.write(job, finished.read(job.digest) | {"commit": "abc" if place else "def"})
    plans = tmp_path / "plans"
    plans.mkdir()
    for name in ("begun", "other"):
        written(plans, f"{name}.yaml", claims=[{"claim": "close | far", "method": "neuron"}])
    plan = read_plan(plans / "begun.yaml")
    write_results(tmp_path / "results" / "begun", "begun", plan, drawn, jobs, finished)
    table = evidence.claims_table(plans, tmp_path / "results")
    assert "plans/begun.yaml`: 9 of 9 units are in, made at abc, def." in table
    assert "plans/other.yaml`: not begun; claims: 1." in table
    lines = [line for line in table.splitlines() if "close" in line]
    assert lines[0].startswith("| close \\| far | loss | not reproduced | 0.550 (")
    assert lines[0].endswith("| 0.067 | 2 | 3 |")
    assert len(lines) == 1, "none for what is not begun"
    content = json.loads((tmp_path / "results" / "begun" / "results.json").read_text())
    assert content["claims"][0]["verdict"] == "not reproduced" and content["commits"] == {"abc": 8, "def": 1}
    assert "- at commits: abc (8), def (1)" in (tmp_path / "results" / "begun" / "results.md").read_text()
    assert "neuron <= noise floor" in (tmp_path / "results" / "begun" / "claims.csv").read_text()


def test_only_what_is_between_the_marks_is_written():
    page = f"a\n{evidence.BEGIN}\nold\n{evidence.END}\nb\n"
    once = evidence.filled(page, "new")
    assert once == f"a\n{evidence.BEGIN}\n\nnew\n\n{evidence.END}\nb\n" == evidence.filled(once, "new")
    with pytest.raises(UserError, match="lacks the lines"):
        evidence.filled("a", "new")


def test_the_page_says_what_the_results_say():
    table = evidence.claims_table(evidence.FOLDER / "plans", evidence.FOLDER / "results")
    page = evidence.PAGE.read_text("utf-8")
    assert evidence.filled(page, table) == page, "run: PYTHONPATH=.:examples python -m reproduce.evidence"
