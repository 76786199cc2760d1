"""Gradient conflict in a plan: what is measured where, that no digest changes by it, and what is skipped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fairseq import options

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from pipeline import commands as pipeline_commands  # noqa: E402
from reproduce import estimate, measure_conflicts  # noqa: E402
from reproduce.conflicts import conflicts_of, keeping, kept_updates, points  # noqa: E402
from reproduce.plan import draw, read_plan  # noqa: E402
from reproduce.units import command_line, jobs_of  # noqa: E402
from test_reproduce import TINY, Commands, commands, run, small_pool, written  # noqa: E402, F401

from fairseq_mos.arch.select import resolve  # noqa: E402
from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.metrics.gradients import Conflict  # noqa: E402
from tests import toy  # noqa: E402

BLOCK = {"conflicts": {"methods": ["neuron"], "points": 2, "batches": 3, "architectures": 2}}


def units(path):
    plan = read_plan(path)
    drawn = [one for _, one in draw(TINY, plan.architectures)]
    jobs = jobs_of(plan, drawn, "c")
    return jobs, conflicts_of(plan, drawn, jobs), drawn


# --- the plan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["layer"]}, "conflicts.methods holds layer, allowed: plain, neuron"),
        ({"architectures": 9}, "conflicts.architectures is 9, allowed: architectures.number at most, which is 3"),
        ({"architectures": 1}, "conflicts.architectures: expected int >= 2"),
    ],
)
def test_a_wrong_block_is_one_line_that_names_the_field(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        read_plan(written(tmp_path, conflicts=BLOCK["conflicts"] | changes))
    assert message in str(error.value).replace("`", "") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("updates", "number", "expected"),
    [(1000, 5, [200, 400, 600, 800, 1000]), (10, 3, [3, 6, 10]), (4, 9, [1, 2, 3, 4]), (7, 1, [7])],
)
def test_points_of_a_training(updates, number, expected):
    assert points(updates, number) == expected


def test_first_seeds_are_measured_and_no_digest_changes(tmp_path):
    jobs, found, drawn = units(written(tmp_path, **BLOCK))
    assert [job.digest for job in jobs] == [job.digest for job in units(written(tmp_path))[0]]
    assert [(one.training.method, one.training.seed, one.update) for one in found] == [
        ("neuron", 1, 4), ("neuron", 1, 2),
    ]  # fmt: skip
    assert found[0].architectures == (drawn[0], drawn[2])
    assert len({one.digest for one in found}) == 2
    other = BLOCK["conflicts"] | {"batches": 4}
    assert {one.digest for one in found}.isdisjoint(one.digest for one in units(written(tmp_path, conflicts=other))[1])


def test_a_training_that_keeps_checkpoints_is_the_same_one(tmp_path):
    _, found, _ = units(written(tmp_path, updates=1000, **BLOCK))
    training = found[0].training
    kept = kept_updates(found)
    assert kept == {training.digest: [500, 1000]}
    keeps = keeping(training, kept[training.digest])
    assert keeps.digest == training.digest
    args = options.parse_args_and_arch(
        options.get_training_parser(), command_line(keeps, Path("data"), Path("save"), Path("subnet.yaml"))
    )
    # The recipe saves every 100 updates already.
    assert (args.save_interval_updates, args.keep_interval_updates_pattern) == (100, 500)
    assert keeping(training, [1000]) is training
    odd = keeping(training, [30, 60, 1000]).flags
    assert (odd["--save-interval-updates"], odd["--keep-interval-updates-pattern"]) == (["10"], ["30"])


# --- running -----------------------------------------------------------------------------------------


@pytest.fixture
def gradients(monkeypatch, commands):  # noqa: F811
    """Commands that keep the checkpoint in the middle where they are told to, and measure conflict."""
    asked = []

    def stand_in(module, arguments, log, threads, held=(), variables=None):
        if not module.endswith("measure_conflicts.py"):
            usage = commands(module, arguments, log, threads, held, variables)
            if "--keep-interval-updates-pattern" in arguments:
                save = Path(arguments[arguments.index("--save-dir") + 1])
                (save / f"checkpoint_3_{arguments[arguments.index('--keep-interval-updates-pattern') + 1]}.pt").touch()
            return usage
        request = json.loads(Path(arguments[0]).read_text())
        assert Path(request["checkpoint"]).is_file()
        asked.append((Path(request["checkpoint"]).name, request["batches"], len(request["architectures"])))
        rows = [{"kind": kind, "negative": 0.25, "cosine": 0.5, "count": 4} for kind in ("attention", "all")]
        Path(arguments[1]).write_text(json.dumps({"rows": rows, "signature": {}}))
        return pipeline_commands.Usage(1.0, 2**20)

    monkeypatch.setattr(pipeline_commands, "run", stand_in)
    return asked


def test_checkpoints_are_kept_until_they_are_measured(tmp_path, gradients, commands, capsys):  # noqa: F811
    run(written(tmp_path, **BLOCK), tmp_path)
    assert gradients == [("checkpoint_last.pt", 3, 2), ("checkpoint_3_2.pt", 3, 2)]
    assert {path.name for path in (tmp_path / "work").rglob("*.pt")} == {"checkpoint_last.pt"}
    assert "skipped" not in capsys.readouterr().out
    run(written(tmp_path, **BLOCK), tmp_path)
    assert len(gradients) == 2 and commands.started == ["train", "measure"] * 9
    folder = tmp_path / "results" / "plan"
    content = json.loads((folder / "results.json").read_text())
    assert (content["units"], content["done"]) == (11, 11)
    assert content["conflicts"][0] == {
        "method": "neuron", "seed": 1, "update": 2, "kind": "attention", "negative": 0.25, "cosine": 0.5, "count": 4,
    }  # fmt: skip
    assert "| neuron | 1 | 2 | 0.250<br>+0.500 | 0.250<br>+0.500 |" in (folder / "results.md").read_text()
    assert (folder / "conflict.png").is_file()
    assert len((folder / "conflicts.csv").read_text().splitlines()) == 5


def test_what_is_gone_is_skipped_and_says_so(tmp_path, gradients, commands, capsys):  # noqa: F811
    run(written(tmp_path), tmp_path)
    capsys.readouterr()
    # This training kept its end alone.
    run(written(tmp_path, **BLOCK), tmp_path)
    assert gradients == [("checkpoint_last.pt", 3, 2)]
    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped")]
    assert skipped == [
        "skipped: gradient conflict of neuron, seed 1, 4 updates, at update 2: its checkpoint is gone",
    ]
    # And nothing is trained again for it, on another machine neither.
    run(written(tmp_path, conflicts=BLOCK["conflicts"] | {"batches": 1}), tmp_path, work="elsewhere")
    assert len(gradients) == 1 and commands.started == ["train", "measure"] * 9


def test_a_dry_run_counts_what_can_be_measured(tmp_path, gradients, monkeypatch, capsys):
    run(written(tmp_path), tmp_path)
    monkeypatch.setattr(estimate, "CONFLICT_SECONDS", 3600.0)
    capsys.readouterr()
    run(written(tmp_path, **BLOCK), tmp_path, "--dry-run")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Of the two the end's checkpoint is here alone.
    assert ["gradient", "conflict", "0", "1", "1.0", "0", "results"] in lines


# --- the measurement ---------------------------------------------------------------------------------


def test_conflict_of_a_trained_supernet(trained):
    one, other = (resolve(toy.space(), name).to_dict() for name in ("smallest", "largest"))
    common = {"checkpoint": str(trained.path), "data": str(trained.data), "batches": 2}
    found = measure_conflicts.measure(common | {"architectures": [one, other]})
    rows = {row["kind"]: row for row in found["rows"]}
    assert {"attention", "feed-forward", "norm", "embedding", "router", "all"} == set(rows)
    assert rows["all"]["count"] == sum(row["count"] for kind, row in rows.items() if kind != "all")
    assert all(-1 <= row["cosine"] <= 1 and 0 <= row["negative"] <= 1 for row in rows.values())
    assert rows["all"]["cosine"] < 1
    assert found == measure_conflicts.measure(common | {"architectures": [one, other]})
    # An architecture is never in conflict with itself.
    same = measure_conflicts.measure(common | {"architectures": [one, one]})["rows"]
    assert {row["negative"] for row in same} == {0}
    assert [row["cosine"] for row in same] == pytest.approx([1.0] * len(same))


def test_several_batches_are_pooled_by_their_cosines():
    assert measure_conflicts.pooled([Conflict(0.5, 0.2, 1), Conflict(0.0, -0.2, 3)]) == pytest.approx(
        {"negative": 0.125, "cosine": -0.1, "count": 4}
    )
