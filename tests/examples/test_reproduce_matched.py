"""Dense models for a supernet's FLOPs: how many updates, that no digest changes, and what the table says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fairseq.tasks.translation import TranslationConfig, TranslationTask

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce import estimate, running  # noqa: E402
from reproduce.corpus import tokens_of  # noqa: E402
from reproduce.costs import training_flops  # noqa: E402
from reproduce.matched import matched_of, matched_updates  # noqa: E402
from reproduce.plan import Matched, draw, read_plan  # noqa: E402
from reproduce.units import jobs_of  # noqa: E402
from test_reproduce import PLAN, TINY, commands, loss_of, run, small_pool, written  # noqa: E402, F401

from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.families import family_of  # noqa: E402
from tests.fairseq_commands import write_corpus  # noqa: E402

FLOPS = family_of(TINY).flops


def block(**changes):
    return {"compute_matched": {"methods": ["neuron"], **changes}}


def units(path, tokens=None):
    plan = read_plan(path)
    drawn = [one for _, one in draw(TINY, plan.architectures)]
    jobs = jobs_of(plan, drawn, "c")
    return jobs, matched_of(plan, drawn, jobs, tokens), drawn


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["layer"]}, "compute_matched.methods holds layer, allowed: plain, neuron"),
        ({"seeds": [1, 1]}, "compute_matched.seeds holds a seed twice"),
        ({"evaluations": -1}, "compute_matched.evaluations: expected int >= 0"),
        ({"architecture": "huge"}, "compute_matched.architecture: architecture 'huge': no such file"),
    ],
)
def test_a_wrong_block_is_one_line_that_names_the_field(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        units(written(tmp_path, **block(**changes)))
    assert message in str(error.value).replace("`", "") and "\n" not in str(error.value)


# --- updates -----------------------------------------------------------------------------------------


def test_all_stages_take_as_many_flops_as_the_dense_model(tmp_path):
    jobs, _, drawn = units(written(tmp_path, updates=50))
    supernet, dense = jobs[-1].training, drawn[-1]
    plain = matched_updates(Matched(), supernet, dense, 0.0)
    # Up to less than one update of the dense model.
    spent, own = training_flops(supernet, 100.0), 3 * FLOPS(dense) * 100 / 30
    assert plain * own <= spent < (plain + 1) * own
    # Retraining is of the same model; three forward passes over as many tokens as an update cost one.
    assert matched_updates(Matched(retraining=7), supernet, dense, 0.0) == plain + 7
    how = Matched(evaluations=30)
    assert matched_updates(how, supernet, dense, FLOPS(dense), 500, 250.0) == plain + 20
    assert matched_updates(how, supernet, dense, FLOPS(dense) / 2, 500, 250.0) in (plain + 10, plain + 11)


def test_what_is_trained_and_that_no_digest_changes(tmp_path):
    jobs, dense, drawn = units(written(tmp_path, **block(seeds=[4, 5])))
    assert [job.digest for job in jobs] == [job.digest for job in units(written(tmp_path))[0]]
    assert [(one.training.method, one.training.seed) for one in dense] == [
        ("dense, as neuron", 4), ("dense, as neuron", 5),
    ]  # fmt: skip
    assert {one.architectures for one in dense} == {(max(drawn, key=FLOPS),)}
    # As from scratch, but for the updates.
    (scratch,) = [job.training for job in jobs if job.training.architecture == drawn[-1] and job.training.seed == 1]
    changed = {name for name, words in dense[0].training.flags.items() if scratch.flags[name] != words}
    assert {"--max-update", "--seed"} <= changed <= {
        "--max-update", "--seed", "--warmup-updates", "--save-interval-updates", "--log-interval",
    }  # fmt: skip
    assert dense[0].training.flags["--max-update"] == [str(dense[0].training.updates)]
    (named,) = units(written(tmp_path, **block(architecture="largest")))[1]
    assert named.training.architecture == TINY.largest()
    asked = []
    (searched,) = units(written(tmp_path, **block(evaluations=9)), lambda t: asked.append(t.method) or (90, 10.0))[1]
    assert asked == ["neuron"] and searched.training.updates > dense[0].training.updates


def test_tokens_are_those_of_fairseqs_batches(tmp_path):
    import fairseq_mos

    fairseq_mos.register()
    data = write_corpus(tmp_path)
    cfg = TranslationConfig(data=str(data), source_lang="a", target_lang="b")
    # What fairseq interpolates from other groups.
    cfg.train_subset, cfg.dataset_impl, cfg.required_seq_len_multiple = "train", None, 1
    task = TranslationTask.setup_task(cfg)
    counts = {}
    for split in ("train", "valid"):
        task.load_dataset(split)
        batches = task.get_batch_iterator(task.dataset(split), max_tokens=64, required_batch_size_multiple=8)
        counts[split] = [batch["ntokens"] for batch in batches.next_epoch_itr(shuffle=False)]
    valid, update = tokens_of(data, ("a", "b"), 64)
    assert len(counts["train"]) > 2 and update == pytest.approx(np.mean(counts["train"]))
    assert valid == sum(counts["valid"])


# --- running -----------------------------------------------------------------------------------------


def test_results_of_known_values(tmp_path, commands):  # noqa: F811
    path = written(tmp_path, **block())
    run(path, tmp_path)
    assert commands.started == ["train", "measure"] * 10
    _, (dense,), drawn = units(path)
    folder = tmp_path / "results" / "plan"
    content = json.loads((folder / "results.json").read_text())
    assert (content["units"], content["done"]) == (10, 10)
    (row,) = [row for row in content["compute_matched"] if row["metric"] == "loss"]
    loss = loss_of(drawn[-1].digest())
    assert (row["method"], row["updates"], row["architecture"]) == (
        "neuron",
        dense.training.updates,
        drawn[-1].digest(),
    )
    assert (row["dense"], row["scratch"], row["inherited"]) == (loss, loss, loss + 0.5)
    best = min(loss_of(one.digest()) for one in drawn) + 0.5
    assert (row["best_inherited"], row["gain"]) == (best, loss - best)
    # It is no supernet: gaps and rankings are without it, its costs are not.
    assert "dense, as neuron" not in {row["method"] for row in content["gaps"]}
    costs = {row["method"]: row for row in content["costs"]}
    assert costs["dense, as neuron"]["trainings"] == 1
    assert f"| neuron | 1 | {drawn[-1].digest()} |" in (folder / "results.md").read_text()
    run(written(tmp_path), tmp_path)
    assert "compute_matched" not in json.loads((folder / "results.json").read_text())


def test_a_dry_run_has_its_hours(tmp_path, commands, monkeypatch, capsys):  # noqa: F811
    run(written(tmp_path), tmp_path)
    monkeypatch.setattr(estimate, "seconds_per_update", lambda *_: (3600.0, "a clock"))
    path = written(tmp_path, **block())
    run(path, tmp_path, "--dry-run")
    out = capsys.readouterr().out
    dense = units(path)[1][0].training
    hours, flops = f"{dense.updates:.1f}", f"{dense.updates * estimate.update_flops(dense) / 1e12:.3g}"
    assert float(flops) > 0
    assert ["dense,", "as", "neuron", "0", "1", hours, flops, "a", "clock"] in map(str.split, out.splitlines())
    assert f"training: {flops} TFLOP" in out


def test_tokens_are_asked_for_where_a_search_is_counted(tmp_path, commands, monkeypatch):  # noqa: F811
    asked = []
    monkeypatch.setattr(running, "tokens_of", lambda *arguments: asked.append(arguments) or (3200, 1600.0))
    run(written(tmp_path, **block()), tmp_path)
    assert asked == []
    flags = ["--max-tokens 999", "--update-freq 2"]
    methods = {"neuron": PLAN["methods"]["neuron"] | {"flags": ["--routing neuron", *flags]}}
    run(written(tmp_path, methods=methods, **block(evaluations=3)), tmp_path)
    assert asked == [(tmp_path, ("en", "de"), 999)]
