"""The runner of plans: reading, drawing, digests, and that nothing finished is lost or repeated."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from fairseq import options

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from pipeline import commands as pipeline_commands  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402
from reproduce import plan as plans  # noqa: E402
from reproduce import running  # noqa: E402
from reproduce.arguments import parse  # noqa: E402
from reproduce.costs import training_flops  # noqa: E402
from reproduce.finished import Finished, missing  # noqa: E402
from reproduce.matched import matched_of  # noqa: E402
from reproduce.plan import Draw, draw, interleaved, parse_flags, read_plan  # noqa: E402
from reproduce.results import write_results  # noqa: E402
from reproduce.retraining import retrained_of  # noqa: E402
from reproduce.schedule import ATTEMPTS, work_off  # noqa: E402
from reproduce.units import command_line, jobs_of  # noqa: E402

from fairseq_mos.arch import SearchSpace  # noqa: E402
from fairseq_mos.documents import read_json  # noqa: E402
from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.families import family_of  # noqa: E402

PLANS = sorted((ROOT / "examples" / "reproduce" / "plans").glob("*.yaml"))
TINY = SearchSpace.load("tiny")
PLAN = {
    "corpus": {"kind": "quickstart"},
    "space": "tiny",
    "updates": 4,
    "architectures": {"number": 3, "strata": 3},
    "scratch": {"seeds": [1, 2]},
    "methods": {
        "plain": {"seeds": [1], "flags": ["--routing shared"]},
        "neuron": {"seeds": [1, 2], "flags": ["--routing neuron"]},
    },
    "metrics": ["loss", "bleu"],
}
AFTER = {"added": {"seeds": [1], "after": "plain", "updates": 2, "flags": ["--routing low-rank --trainable routing"]}}

ALONE = {"alone": {"seeds": [1], "from_scratch": True, "flags": ["--lr 0.006"]}}


@pytest.fixture(autouse=True)
def small_pool(monkeypatch):
    monkeypatch.setattr(plans, "POOL", 200)


def written(folder: Path, name: str = "plan.yaml", **changes) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
    return path


def jobs(path: Path, corpus: str = "c"):
    plan = read_plan(path)
    return jobs_of(plan, [one for _, one in draw(TINY, plan.architectures)], corpus)


# --- plans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {}}, "unknown field `method`"),
        ({"updates": 0}, "updates: expected `int` >= 1"),
        ({"metrics": ["ter"]}, "metrics[0]: invalid enum value"),
        ({"space": "tinny"}, "the shipped spaces are"),
        ({"scratch": {"seeds": [1, 1]}}, "scratch.seeds holds a seed twice"),
        ({"scratch": {"seeds": [1], "rate": 1}}, "scratch: object contains unknown field"),
        ({"flags": ["--seed 3"]}, "flags holds --seed, which the runner sets itself"),
        ({"scratch": {"seeds": [1], "after": "plain"}}, "scratch.after: 'plain', allowed: none"),
        ({"methods": {"a": {"seeds": [1], "after": "a"}}}, "methods.a.after: 'a', allowed: none"),
        ({"methods": {**PLAN["methods"], **AFTER, "b": {"seeds": [1], "after": "added"}}},
         "methods.b.after: 'added', allowed: 'plain', 'neuron'"),
        ({"methods": {**PLAN["methods"], "b": {"seeds": [1, 2], "after": "plain"}}},
         "methods.b.seeds holds 2, allowed: those of methods.plain, 1"),
        ({"methods": {**PLAN["methods"], **ALONE, "b": {"seeds": [1], "after": "alone"}}},
         "methods.b.after: 'alone', allowed: 'plain', 'neuron'"),
        ({"methods": {**PLAN["methods"], "b": {"seeds": [1], "from_scratch": True, "after": "plain"}}},
         "methods.b.after: 'plain', allowed: none"),
        ({"methods": {**PLAN["methods"], **ALONE}, "compute_matched": {"methods": ["alone"]}},
         "compute_matched.methods holds alone, allowed: plain, neuron"),
        ({"scratch": {"seeds": [1], "from_scratch": True}}, "scratch.from_scratch is of methods alone"),
        ({"flags": ["routing"]}, "flags holds 'routing', expected a flag"),
        ({"flags": ["--x 'a"]}, "No closing quotation"),
        ({"architectures": {"number": 2, "strata": 3}}, "architectures.number is 2, allowed: architectures.strata"),
    ],
)
def test_a_wrong_plan_is_one_line_that_names_file_and_field(tmp_path, changes, message):
    path = written(tmp_path, **changes)
    with pytest.raises(UserError) as error:
        read_plan(path)
    assert message.replace("`", "") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("argv", [["no.yaml"], ["PLAN", "--jobs", "0"], ["PLAN", "--data", "/no"], ["PLAN", "--x"]])
def test_wrong_flags_end_with_code_2_and_one_line(tmp_path, argv, capsys):
    plan = written(tmp_path)
    with pytest.raises(SystemExit) as error:
        parse([str(plan) if word == "PLAN" else word for word in argv])
    assert error.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_flag_that_is_said_again_replaces_the_first():
    assert parse_flags(["--lr 1e-3", "--betas '(0.9, 0.98)' --fp16", "--lr=2"]) == {
        "--lr": ["2"], "--betas": ["(0.9, 0.98)"], "--fp16": [],
    }  # fmt: skip


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_fairseq_understands_every_training_of_a_shipped_plan(path):
    from fairseq_mos import models, tasks  # noqa: F401

    plan = read_plan(path)
    space = SearchSpace.load(plan.space)
    listed = jobs_of(plan, [one for _, one in draw(space, plan.architectures)], "c")
    alone = [plan.scratch, *(method for method in plan.methods.values() if method.from_scratch)]
    supernets = [method for method in plan.methods.values() if not method.from_scratch]
    trained, shared = (sum(len(one.seeds) for one in some) for some in (alone, supernets))
    assert len(listed) == trained * plan.architectures.number + shared
    assert len({job.digest for job in listed}) == len({job.training.digest for job in listed}) == len(listed)
    drawn = [one for _, one in draw(space, plan.architectures)]
    again = retrained_of(plan, drawn, listed)
    dense = matched_of(plan, drawn, listed, lambda training: (9000, 1600.0))
    for training in {job.training.method: job.training for job in [*listed, *again, *dense]}.values():
        words = command_line(training, Path("data"), Path("save"), Path("subnet.yaml"))
        args = options.parse_args_and_arch(options.get_training_parser(), words)
        assert (args.max_update, args.seed, args.save_dir) == ([training.updates], training.seed, "save") or (
            args.max_update == training.updates
        )
        assert args.arch == ("mos_subnet" if training.architecture else plan.arch or f"mos_transformer_{plan.space}")


# --- the draw ----------------------------------------------------------------------------------------


def test_the_draw_is_stratified_by_flops_and_repeatable():
    drawn = draw(TINY, Draw(number=15, strata=5, seed=1))
    assert drawn == draw(TINY, Draw(number=15, strata=5, seed=1)) != draw(TINY, Draw(number=15, strata=5, seed=2))
    assert [stratum for stratum, _ in drawn] == sorted([0, 1, 2, 3, 4] * 3)
    assert len({one for _, one in drawn}) == 15
    flops = [family_of(TINY).flops(one) for _, one in drawn]
    assert flops == sorted(flops)


def test_strata_share_what_does_not_divide():
    counts = np.bincount([stratum for stratum, _ in draw(TINY, Draw(number=7, strata=3))])
    assert sorted(counts) == [2, 2, 3]


# --- digests -----------------------------------------------------------------------------------------


def test_a_digest_depends_on_what_determines_the_outcome(tmp_path):
    base = jobs(written(tmp_path))
    assert [job.digest for job in base] == [job.digest for job in jobs(written(tmp_path))]
    assert {j.digest for j in base}.isdisjoint(j.digest for j in jobs(written(tmp_path), corpus="other"))
    # Where files lie and how often they are saved is left out.
    training = base[-1].training
    moved = replace(training, flags=training.flags | {"--save-interval-updates": ["7"], "--log-interval": ["3"]})
    assert moved.digest == training.digest
    assert replace(training, flags=training.flags | {"--lr": ["7"]}).digest != training.digest
    assert replace(training, method="renamed").digest == training.digest
    # BLEU or not: another measurement of the same training.
    loss = jobs(written(tmp_path, metrics=["loss"]))
    assert [job.training.digest for job in loss] == [job.training.digest for job in base]
    assert {job.digest for job in loss}.isdisjoint(job.digest for job in base)


def test_from_scratch_comes_first_and_first_seeds_before_second_ones(tmp_path):
    order = [(job.training.method, job.training.seed) for job in jobs(written(tmp_path))]
    first = [*[("scratch", 1)] * 3, ("plain", 1), ("neuron", 1)]
    assert order == [*first, *[("scratch", 2)] * 3, ("neuron", 2)]


@pytest.mark.parametrize(("number", "order"), [(1, [0]), (3, [0, 2, 1]), (7, [0, 4, 2, 6, 1, 5, 3])])
def test_the_first_trainings_from_scratch_are_of_all_costs(number, order):
    assert interleaved(range(number)) == order
    assert max(interleaved(range(15))[:4]) >= 12


# --- the schedule -------------------------------------------------------------------------------------


def test_jobs_run_side_by_side_in_their_order_and_failures_are_tried_again():
    barrier, done, failed = threading.Barrier(2, timeout=20), [], []

    def do(job, place):
        if job in ("a", "b"):
            barrier.wait()  # only two at once come through
        if job == "bad" or (job == "once" and "once" not in failed):
            raise PipelineError(job, 1)
        if job == "wrong":
            raise PipelineError(job, 2)
        done.append((job, place))

    lost = work_off(["a", "b", "once", "bad", "wrong", "c"], [0, 1], do, lambda job, error: failed.append(job))
    assert sorted(job for job, _ in done) == ["a", "b", "c", "once"]
    assert {place for job, place in done if job in "ab"} == {0, 1}
    assert sorted(lost) == ["bad", "wrong"]
    assert sorted(failed) == ["bad"] * ATTEMPTS + ["once", "wrong"]


def test_what_is_no_failure_of_a_job_ends_everything():
    with pytest.raises(ZeroDivisionError):
        work_off([1], [0], lambda job, place: 1 / 0, print)


@pytest.mark.parametrize(
    ("found", "visible", "jobs", "expected"),
    [
        ("0", None, None, [None]),
        ("0", None, 3, [None] * 3),
        ("2", None, None, ["0", "1"]),
        ("2", "5,7", 3, ["5", "7", "5"]),
    ],
)
def test_a_gpu_each_as_far_as_there_are_some(monkeypatch, found, visible, jobs, expected):
    monkeypatch.setattr(running.subprocess, "run", lambda *_, **__: argparse.Namespace(stdout=f"{found}\n"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in running.places(jobs)] == expected


class Commands:
    """Stands in for fairseq-train and the measurement; counts what is started."""

    def __init__(self):
        self.started: list[str] = []
        self.broken = ""

    def __call__(self, module, arguments, log, threads, held=(), variables=None):
        kind = {"fairseq_cli.train": "train", "fairseq_mos.cli": "extract"}.get(module, "measure")
        if "--finetune-from-model" in arguments:
            kind = "retrain" if "--subnet" in arguments else "from supernet"
            assert Path(arguments[arguments.index("--finetune-from-model") + 1]).is_file()
        self.started.append(kind)
        if self.started[-1] == self.broken:
            raise PipelineError(f"it failed; log: {log}", 1)
        if module == "fairseq_cli.train":
            save = Path(arguments[arguments.index("--save-dir") + 1])
            save.mkdir(exist_ok=True)
            for name in ("last", "best", "1_4"):
                (save / f"checkpoint_{name}.pt").touch()
            values = {"loss": "5.5", "ups": "1", "wpb": "100", "num_updates": "4", "train_wall": "3"}
            log.write_text(f"$ fairseq-train\n2026 | INFO | train_inner | {json.dumps(values)}\n")
            if self.started[-1] == "retrain":
                self.validate(arguments, log)
        elif module == "fairseq_mos.cli":
            assert Path(arguments[arguments.index("--path") + 1]).is_file()
            Path(arguments[arguments.index("--output") + 1]).touch()
        else:
            request = json.loads(Path(arguments[0]).read_text())
            digests = [running_digest(one) for one in request["architectures"]]
            # A supernet's subnets are worse by 0.5.
            rows = [
                {"architecture": d, "loss": loss_of(d) + (not request["scratch"]) / 2, "bleu": 30.0} for d in digests
            ]
            Path(arguments[1]).write_text(json.dumps({"rows": rows, "signature": {}}))
        return pipeline_commands.Usage(1.0, 2**20)

    def validate(self, arguments: list[str], log: Path) -> None:
        """Gets to the from-scratch loss at update 2, with frozen weights never."""
        from fairseq_mos.arch import Architecture

        assert Path(arguments[arguments.index("--finetune-from-model") + 1]).is_file()
        loss = loss_of(Architecture.load(arguments[arguments.index("--subnet") + 1]).digest())
        gaps = {1: 0.375, 2: 0.25, 4: 0.25} if "--trainable" in arguments else {1: 0.25, 2: 0.0, 4: -0.125}
        with log.open("a") as stream:
            for update, gap in gaps.items():
                values = {"loss": str(loss + gap), "nll_loss": "1.5", "num_updates": str(update)}
                values = {f"valid_{name}": value for name, value in values.items()}
                stream.write(f"2026 | INFO | valid | {json.dumps(values)}\n")


def loss_of(digest: str) -> int:
    """Returns an architecture's from-scratch loss."""
    return 2 + int(digest[:2], 16)


def running_digest(data: dict) -> str:
    from fairseq_mos.arch import Architecture

    return Architecture.from_dict(data).digest()


@pytest.fixture
def commands(monkeypatch, tmp_path):
    stand_in = Commands()
    monkeypatch.setattr(pipeline_commands, "run", stand_in)
    monkeypatch.setattr(running, "prepare", lambda corpus, work, threads: tmp_path)
    monkeypatch.setattr(running, "corpus_digest", lambda data: "c")
    monkeypatch.setattr(running, "places", lambda jobs: [{}])
    return stand_in


def run(plan: Path, tmp_path: Path, *flags: str, work: str = "work") -> None:
    running.run_plan(parse([str(plan), "--results", str(tmp_path / "results"), "--work", str(tmp_path / work), *flags]))


def test_nothing_is_repeated_and_plans_share_units(tmp_path, commands):
    run(written(tmp_path), tmp_path)
    assert commands.started == ["train", "measure"] * 9
    run(written(tmp_path), tmp_path)
    # Without the checkpoints, as on another machine.
    run(written(tmp_path), tmp_path, work="elsewhere")
    assert len(commands.started) == 18
    more = {**PLAN["methods"], "layer": {"seeds": [1], "flags": ["--routing layer"]}}
    run(written(tmp_path, "other.yaml", methods=more), tmp_path)
    assert len(commands.started) == 20
    content = json.loads((tmp_path / "results" / "other" / "results.json").read_text())
    assert (content["units"], content["done"]) == (10, 10)


def test_a_method_begins_with_the_weights_of_another_and_costs_both(tmp_path, commands):
    path = written(tmp_path, methods={"added": AFTER["added"], "plain": PLAN["methods"]["plain"]})
    added, plain = (job.training for job in jobs(path)[3:5])
    assert added.start == plain and added.spec["after"] == plain.digest
    assert training_flops(added, 1.0) == training_flops(plain, 1.0) + training_flops(replace(added, start=None), 1.0)
    run(path, tmp_path)
    # The weights' own training comes first, though its turn is later, and only once.
    assert commands.started[6:] == ["train", "from supernet", "measure", "measure", *["train", "measure"] * 3]
    rows = json.loads((tmp_path / "results" / "plan" / "results.json").read_text())["costs"]
    minutes = {row["method"]: row["train_minutes"] for row in rows}
    assert minutes["added"] == 2 * minutes["plain"]
    assert {path.name for path in (tmp_path / "results" / "units").iterdir()} >= {f"{added.digest}.json"}


def test_a_method_from_scratch_is_what_another_plan_compares_with(tmp_path, commands):
    path = written(tmp_path, methods={**ALONE, "plain": PLAN["methods"]["plain"]})
    alone = [job for job in jobs(path) if job.training.method == "alone"]
    again = jobs(written(tmp_path, "again.yaml", scratch={"seeds": [1], "flags": ["--lr 0.006"]}, methods={}))
    assert [job.digest for job in alone] == [job.digest for job in again]
    run(path, tmp_path)
    content = json.loads((tmp_path / "results" / "plan" / "results.json").read_text())
    assert (content["units"], content["done"]) == (10, 10)
    assert [row["architectures"] for row in content["summary"] if row["method"] == "alone"] == [3, 3]
    assert {row["method"] for row in content["choices"]} == {"plain"}  # under limits a supernet chooses
    assert [row["trainings"] for row in content["costs"]] == [6, 3, 1]


def test_a_finished_training_is_not_repeated_for_another_measurement(tmp_path, commands):
    run(written(tmp_path), tmp_path)
    del commands.started[:]
    run(written(tmp_path, metrics=["loss"]), tmp_path)
    assert commands.started == ["measure"] * 9
    assert [path.name for path in (tmp_path / "work").rglob("*.pt")] == ["checkpoint_last.pt"] * 9


def test_a_checkpoint_of_a_killed_training_is_not_measured(tmp_path, commands):
    """Of a training whose result came from another machine, without its measurement."""
    path = written(tmp_path)
    run(path, tmp_path)
    for file in (tmp_path / "work").glob("trainings/*/finished"):
        file.unlink()
    del commands.started[:]
    run(written(tmp_path, metrics=["loss"]), tmp_path)
    assert commands.started == ["train", "measure"] * 9


def test_failures_are_counted_and_the_rest_goes_on(tmp_path, commands):
    commands.broken = "measure"
    with pytest.raises(PipelineError, match="9 of 9 units failed") as error:
        run(written(tmp_path), tmp_path)
    assert error.value.code == 1
    # A finished training is kept while its measurement is tried again.
    assert commands.started.count("train") == 9 and commands.started.count("measure") == 18
    kept = [json.loads(path.read_text()) for path in (tmp_path / "results" / "failures").glob("*.json")]
    assert [len(one["failures"]) for one in kept] == [ATTEMPTS] * 9
    assert kept[0]["failures"][0] == {"exit_code": 1, "message": "it failed"}
    commands.broken = ""
    run(written(tmp_path), tmp_path)
    content = json.loads((tmp_path / "results" / "plan" / "results.json").read_text())
    assert (content["done"], content["failed_attempts"]) == (9, 18)


def test_results_of_known_values(tmp_path, commands):
    path = written(tmp_path)
    run(path, tmp_path)
    content = json.loads((tmp_path / "results" / "plan" / "results.json").read_text())
    assert content["noise_floor"] == {"loss": 0, "bleu": 0}
    rows = {(row["metric"], row["method"], row.get("seed")): row for row in content["gaps"]}
    row = rows["loss", "neuron", 2]
    assert (row["gap"], row["absolute_gap"], row["worst_gap"], row["absolute_gap_low"]) == (0.5, 0.5, 0.5, 0.5)
    assert (row["tau"], row["regret"], row["architectures"]) == (1, 0, 3)
    assert rows["bleu", "plain", 1]["gap"] == 0 and rows["bleu", "plain", 1]["tau"] is None
    summary = {(row["metric"], row["method"]): row for row in content["summary"]}
    assert summary["loss", "neuron"]["winner_agreement"] == 1
    costs = {row["method"]: row for row in content["costs"]}
    assert costs["scratch"]["trainings"] == 6 and costs["scratch"]["train_minutes"] == pytest.approx(4 / 60)
    mean = np.mean([family_of(TINY).flops(one) for _, one in draw(TINY, read_plan(path).architectures)])
    # Three passes of 4 updates with 100 of a sentence's 30 tokens.
    assert costs["scratch"]["training_teraflops"] == pytest.approx(3 * 4 * mean * 100 / 30 / 1e12)
    folder = tmp_path / "results" / "plan"
    assert (folder / "gap_loss.png").is_file()
    # The page is one of `fairseq-mos report`: it needs no other file, and has its Markdown beside it.
    page, markdown = ((folder / f"results.{ending}").read_text() for ending in ("html", "md"))
    assert "<td>neuron</td><td>2</td><td>3</td><td>0.500<br><small>[0.500, 0.500]</small></td>" in page
    assert page.count("<svg") == 4
    assert "| neuron | 2 | 3 | 0.500<br>" in markdown and "- units that are in: 9 of 9" in markdown
    assert {file.name for file in (folder / "results-pictures").iterdir()} == {
        f"{kind}-{metric}.svg" for kind in ("gap", "inherited") for metric in ("loss", "bleu")
    }


def test_tables_of_what_is_there_so_far(tmp_path):
    plan = read_plan(written(tmp_path))
    drawn = draw(TINY, plan.architectures)
    listed = jobs_of(plan, [one for _, one in drawn], "c")
    finished = Finished(tmp_path / "results")
    assert write_results(tmp_path / "none", "plan", plan, drawn, listed, finished).is_file()
    rows = [{"architecture": one.digest(), "loss": value, "bleu": 20.0} for value, (_, one) in enumerate(drawn)]
    finished.write(listed[0], {"rows": rows[:1]})
    finished.write(listed[1], {"rows": rows[1:2]})
    finished.write(listed[-1], {"rows": [row | {"loss": row["loss"] + 0.25} for row in rows]})
    assert len(missing(listed, finished)) == 6
    write_results(tmp_path / "some", "plan", plan, drawn, listed, finished)
    # The noise of one seed is not known, and no number in JSON either.
    content = read_json(tmp_path / "some" / "results.json", "results")
    assert content["noise_floor"] == {"loss": None, "bleu": None}
    (row,) = [row for row in content["gaps"] if row["metric"] == "loss" and row["method"] == "neuron"]
    assert (row["architectures"], row["gap"], row["tau"], row["noise_floor"]) == (2, 0.25, 1, None)


# --- the real commands ---------------------------------------------------------------------------------


def test_killed_it_goes_on_with_what_was_trained(tmp_path, monkeypatch):
    """fairseq's real training, the runner killed in the middle."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for split, lines in (("train", 60), ("valid", 6), ("test", 4)):
        for language in ("en", "de"):
            words = [" ".join(["red", "blue", "tree", "bird"][: 1 + (i % 4)]) for i in range(lines)]
            (corpus / f"{split}.{language}").write_text("".join(f"{line}\n" for line in words))
    plan = written(
        tmp_path,
        corpus={"kind": "quickstart", "data": str(corpus), "vocabulary": 30},
        updates=20,
        flags=["--disable-validation", "--max-tokens 64", "--save-interval-updates 1"],
        scratch={"seeds": [1]},
        methods={"neuron": {"seeds": [1], "flags": ["--routing neuron"]}},
        architectures={"number": 2, "strata": 2},
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'examples'}{os.pathsep}{ROOT}"}
    flags = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work"), "--jobs", "1"]
    command = [sys.executable, "-m", "reproduce", "reproduce", str(plan), *flags]

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    # What is trained from scratch was done elsewhere.
    monkeypatch.undo()
    data = running.prepare(read_plan(plan).corpus, tmp_path / "work", 1)
    for job in jobs(plan, running.corpus_digest(data)):
        if job.training.architecture:
            row = {"architecture": job.training.architecture.digest(), "loss": 9.0, "bleu": 0.0}
            Finished(tmp_path / "results").write(job, {"rows": [row]})
    killed = start()
    while not list((tmp_path / "work").glob("trainings/*/checkpoints/checkpoint_last.pt")):
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    ended = start()
    output = ended.communicate()[0]
    assert ended.returncode == 0, output
    assert "results.html; elapsed" in output and "DEBUG" not in output
    log = (tmp_path / "work" / "trainings" / jobs_in(tmp_path)[0] / "train.log").read_text()
    assert "Loaded checkpoint" in log
    content = json.loads((tmp_path / "results" / "plan" / "results.json").read_text())
    assert (content["done"], content["units"], content["failed_attempts"]) == (3, 3, 0)
    (row,) = [row for row in content["gaps"] if row["metric"] == "bleu" and row["method"] == "neuron"]
    assert row["architectures"] == 2
    assert {row["method"]: row["restarts"] for row in content["costs"]} == {"neuron": 1}


def jobs_in(tmp_path: Path) -> list[str]:
    """Returns the digests of the trainings that were started twice."""
    logs = (tmp_path / "work" / "trainings").glob("*/train.log")
    return [log.parent.name for log in logs if log.read_text().count("$ fairseq-train") == 2]


def test_plan_fields_are_documented():
    text = (ROOT / "examples" / "reproduce" / "README.md").read_text()
    from reproduce.plan import Claim, Conflicts, Corpus, Matched, Plan, Retraining, Trained

    for kind in (Plan, Corpus, Draw, Trained, Retraining, Conflicts, Matched, Claim):
        for field in msgspec.structs.fields(kind):
            assert f"`{field.name}`" in text, field.name
