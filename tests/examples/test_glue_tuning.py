"""GLUE: fine-tuning end to end on a tiny stock roberta, scores by two routes, the grid's choice and its tables."""

from __future__ import annotations

import csv
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from fairseq.logging import metrics

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from glue import predict, running, starting, units  # noqa: E402
from glue.arguments import parse  # noqa: E402
from glue.plan import read_plan  # noqa: E402
from glue.preparing import prepare  # noqa: E402
from glue.reading import find_file, read_split  # noqa: E402
from glue.tasks import SEVEN, TASKS  # noqa: E402
from pipeline import commands  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402
from pipeline.text import read_lines  # noqa: E402

from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.metrics.glue import MEASURES, Predictions, glue_scores, write_predictions  # noqa: E402
from fairseq_mos.models.loading import load_state  # noqa: E402
from tests import glue_toy  # noqa: E402

POINT = {"lr": [0.01], "batch": [8], "epochs": [10], "seeds": [1]}


# --- end to end --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a pretrained model, four prepared tasks and one fine-tuning of each; see the plan."""
    folder = tmp_path_factory.mktemp("glue")
    model, patch = glue_toy.roberta(folder), pytest.MonkeyPatch()
    patch.setattr(commands, "run", glue_toy.forked)
    patch.setattr(running, "places", lambda jobs: [{}])
    glue_toy.write_sst(folder / "raw")
    glue_toy.write_sts(folder / "raw")
    glue_toy.write_pairs(folder / "raw", "MRPC", ("0", "1"), number=13)
    glue_toy.write_pairs(folder / "raw", "MNLI", TASKS["MNLI"].labels)
    prepare(flags(folder, "prepare", f"--data {folder / 'raw'} --dict {folder / 'dict.txt'} --bpe none --length 20"))
    yield folder, model
    patch.undo()


def flags(folder: Path, verb: str, text: str = ""):
    return parse([verb, "--output", str(folder / "work"), *text.split()])


def plan_file(folder: Path, **changes) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**POINT, **changes}))
    return path


def finetune(folder: Path, model: Path, text: str, **changes) -> None:
    plan = plan_file(folder, **changes)
    running.finetune(flags(folder, "finetune", f"--model {model} --plan {plan} --threads 1 --jobs 1 {text}"))


def test_preparation_has_fairseqs_layout_and_is_not_repeated(prepared, capsys):
    folder, _ = prepared
    data = folder / "work" / "data"
    assert (data / "SST-2" / "input0" / "train.bin").is_file() and not (data / "SST-2" / "input1").exists()
    assert (data / "MNLI" / "input1" / "valid1.bin").is_file() and (data / "MNLI" / "label" / "dict.txt").is_file()
    dev = read_lines(folder / "raw" / "STS-B" / "sts-dev.tsv")
    assert read_lines(data / "STS-B" / "label" / "valid.label") == [line.split("\t")[4] for line in dev]
    about = json.loads((data / "MNLI" / "about.json").read_text())
    assert about["examples"] == {"train": 9, "valid": 9, "valid1": 9} and about["unknown"]["train"] == 0
    capsys.readouterr()
    prepare(flags(folder, "prepare", f"--data {folder / 'raw'} --dict {folder / 'dict.txt'} --bpe none --length 20"))
    assert capsys.readouterr().out.count("done before") == 4


def test_thirty_sentences_are_learned_and_the_teacher_teaches(prepared, capsys):
    """SST-2 whose classes have words of their own; then the same with what was learned as the teacher."""
    folder, model = prepared
    finetune(folder, model, "--tasks SST-2 --name base")
    found = json.loads((folder / "work" / "results.json").read_text())
    assert [(row["model"], row["task"], row["seeds"]) for row in found["rows"]] == [("base", "SST-2", 1)]
    assert found["rows"][0]["mean"] >= 90
    unit = next((folder / "work" / "models" / "base" / "units").iterdir())
    assert json.loads((unit / "result.json").read_text())["result"]["examples"] == {"valid": 11}
    assert (unit / "model.pt").is_file() and not (unit / "checkpoints").exists()
    capsys.readouterr()
    finetune(folder, model, "--tasks SST-2 --name base")
    assert "1 trainings: 1 done, 0 missing" in capsys.readouterr().out
    student = glue_toy.subnet(folder, "apart", "small.pt")
    finetune(folder, student, "--tasks SST-2 --teacher base")
    rows = json.loads((folder / "work" / "results.json").read_text())["rows"]
    assert {(row["model"], row["distilled"]) for row in rows} == {("base", False), ("small", True)}
    assert min(row["mean"] for row in rows) >= 90
    log = next((folder / "work" / "models" / "small" / "units").glob("*/train.log")).read_text()
    assert '"train_soft_loss"' in log
    page = (folder / "work" / "results.md").read_text()
    assert page.index("## With a teacher") < page.index("| small |") < page.index("## Without") < page.index("| base |")
    assert "SST-2 (11 examples, not 872)" in page
    with pytest.raises(UserError, match="--teacher base has no fine-tuned model of MRPC"):
        finetune(folder, student, "--tasks MRPC --teacher base")
    with pytest.raises(UserError, match="--name base stands for another model"):
        finetune(folder, student, "--tasks SST-2 --name base")


@pytest.mark.parametrize("task", ["MRPC", "STS-B", "MNLI"])
def test_scores_are_fairseqs_and_batches_do_not_matter(prepared, task):
    """Two routes: predictions of the whole set, and fairseq's criterion over batches (it rounds)."""
    folder, model = prepared
    finetune(folder, model, f"--tasks {task} --name {task.lower()} --keep-all")
    unit = next((folder / "work" / "models" / task.lower() / "units").iterdir())
    opened, problem = predict.open_model(unit / "model.pt", folder / "work" / "data" / task)
    split = "valid1" if task == "MNLI" else "valid"
    found = [predict.predictions(opened, problem, split, size) for size in (1, 4, 64)]
    number = len(problem.datasets[split])
    assert [len(one.labels) for one in found] == [number] * 3 and number % 8
    assert found[0].labels == found[1].labels == found[2].labels
    raw = json.loads((unit / "result.json").read_text())["result"]["scores"][split]
    for one in found:
        assert glue_scores(task, one.labels, one.predictions) == pytest.approx(raw, abs=0.01)
    labels = read_split(TASKS[task], find_file(folder / "raw" / task, dict(TASKS[task].splits)[split])).labels
    assert found[0].labels == (pytest.approx(list(map(float, labels))) if task == "STS-B" else labels)
    told = fairseqs(task, opened, problem, split)
    for measure in MEASURES[task]:
        assert told[measure] == pytest.approx(raw[measure], abs=0.051)


def fairseqs(task: str, model, problem, split: str) -> dict[str, float]:
    cfg = SentencePredictionConfig(
        regression_target=task == "STS-B", report_acc_and_f1=task == "MRPC", report_pearson_and_spearman=task == "STS-B"
    )
    criterion = SentencePredictionCriterion(cfg, problem)
    batches = problem.get_batch_iterator(problem.datasets[split], max_sentences=4, required_batch_size_multiple=1)
    logs = [criterion(model, sample)[2] for sample in batches.next_epoch_itr(shuffle=False)]
    with metrics.aggregate() as found:
        criterion.reduce_metrics(logs)
    return found.get_smoothed_values()


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(prepared, monkeypatch, capsys):
    """Killed in the middle of its fourth epoch, behind a save; the second attempt does the rest."""
    folder, model = prepared
    finetune(folder, model, "--tasks SST-2 --name whole")
    ends = []

    def killed(module, arguments, log, threads, **unused):
        if module == "fairseq_cli.train" and not ends:
            ends.append(15)
            place = arguments.index("--max-update") + 1
            glue_toy.forked(module, [*arguments[:place], "15", *arguments[place + 1 :]], log, threads)
            raise PipelineError("killed", 1)
        glue_toy.forked(module, arguments, log, threads)

    monkeypatch.setattr(commands, "run", killed)
    finetune(folder, model, "--tasks SST-2 --name resumed")
    assert "failed: SST-2" in capsys.readouterr().err and ends
    logs, weights = [], []
    for name in ("whole", "resumed"):
        unit = next((folder / "work" / "models" / name / "units").iterdir())
        logs.append((unit / "train.log").read_text())
        weights.append(load_state(str(unit / "model.pt"))["model"])
    assert "checkpoint_last.pt (epoch 4 @ 15 updates)" in logs[1] and "@ 15 updates" not in logs[0]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_teacher_that_does_not_fit_ends_fairseq_train_in_one_line_and_with_code_2(prepared, tmp_path):
    folder, model = prepared
    start = starting.open_start(model, folder / "dict.txt")
    data, plan = units.read_data(folder / "work", "SST-2"), read_plan(plan_file(folder))
    unit = units.units_of(plan, data, start, [1], teacher=("t", model))[0]
    with pytest.raises(PipelineError, match=f"error: --teacher {model} was trained for task 'masked_lm'") as error:
        commands.run("fairseq_cli.train", units.command_line(unit, tmp_path / "save", None), tmp_path / "log", 1)
    log = (tmp_path / "log").read_text()
    assert error.value.code == 2 and "Traceback" not in log and "begin training epoch" not in log


def test_a_failed_training_leaves_one_line_and_exit_code_1(prepared, monkeypatch, capsys):
    folder, model = prepared

    def broken(module, arguments, log, *rest, **options):
        raise PipelineError(f"{module} failed; log: {log}", 1)

    monkeypatch.setattr(commands, "run", broken)
    with pytest.raises(PipelineError, match="1 trainings failed: SST-2, lr 0.02") as error:
        finetune(folder, model, "--tasks SST-2 --name base", lr=[0.02])
    assert error.value.code == 1


def test_data_that_is_longer_than_the_model_is_refused(prepared, monkeypatch):
    folder, model = prepared
    long = units.read_data(folder / "work", "SST-2")
    monkeypatch.setattr(running, "read_data", lambda *_: replace(long, length=25))
    with pytest.raises(UserError, match="SST-2 is prepared with 25 tokens, .* has 24 positions"):
        finetune(folder, model, "--tasks SST-2 --name base")


# --- the grid, with commands that do nothing ----------------------------------------------------------


class Commands:
    """Stands in for fairseq-train and the predictions: the score depends on learning rate and seed."""

    def __init__(self):
        self.trained: list[list[str]] = []

    def __call__(self, module, arguments, log, threads, **unused):
        if module == "fairseq_cli.train":
            self.trained.append(arguments)
            assert Path(self.value("--finetune-from-model")).is_file()
            Path(self.value("--save-dir")).mkdir(parents=True)
            return
        _, data, output, *splits = arguments
        regression = "--regression-target" in self.trained[-1]
        # Of 100 examples: more right ones with the higher rate, two more with the second seed.
        right = int(float(self.value("--lr")) * 1000) + 2 * int(self.value("--seed"))
        for split in splits:
            labels = [float(n % 5) for n in range(100)] if regression else ["0"] * 50 + ["1"] * 50
            wrong = [-x for x in labels] if regression else ["1" if x == "0" else "0" for x in labels]
            # Alternating, so that both classes have right ones.
            order = sorted(range(100), key=lambda n: (n % 50, n))
            said = list(wrong)
            for n in order[:right]:
                said[n] = labels[n]
            write_predictions(Path(output) / f"predictions.{split}.tsv", Predictions(labels, said))
        (Path(output) / "model.pt").touch()

    def value(self, flag: str) -> str:
        return self.trained[-1][self.trained[-1].index(flag) + 1]


@pytest.fixture
def grid(tmp_path, monkeypatch):
    stand_in = Commands()
    monkeypatch.setattr(commands, "run", stand_in)
    monkeypatch.setattr(running, "places", lambda jobs: [{}])
    model = glue_toy.roberta(tmp_path)
    for name, task in TASKS.items():
        folder = tmp_path / "work" / "data" / name
        (folder / "input0").mkdir(parents=True)
        (folder / "input0" / "dict.txt").write_text((tmp_path / "dict.txt").read_text())
        examples = {split: 64 if split == "train" else task.dev for split, _ in task.splits}
        about = {"digest": f"data of {name}", "length": 20, "examples": examples}
        (folder / "about.json").write_text(json.dumps(about))
    return tmp_path, model, stand_in


def test_the_best_point_is_chosen_by_its_mean_and_averages_need_all_tasks(grid):
    folder, model, stand_in = grid
    changes = {"lr": [0.07, 0.05], "seeds": [1, 2]}
    finetune(folder, model, f"--tasks {','.join(SEVEN)} --name one", **changes)
    found = json.loads((folder / "work" / "results.json").read_text())
    row = next(row for row in found["rows"] if (row["task"], row["measure"]) == ("SST-2", "accuracy"))
    assert (row["lr"], row["mean"], row["seeds"], row["points"]) == (0.07, pytest.approx(73), 2, 2)
    assert row["deviation"] == pytest.approx(statistics.stdev([72, 74]))
    assert {row["split"] for row in found["rows"] if row["task"] == "MNLI"} == {"valid", "valid1"}
    # Balanced classes, evenly right: Matthews is twice the accuracy minus 1.
    average = (6 * 73 + 2 * 73 - 100) / 7
    assert found["averages"] == [
        {"model": "one", "distilled": False, "seven_tasks": pytest.approx(average), "eight_tasks": None}
    ]
    with (folder / "work" / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(found["rows"])
    # One model of each task is kept, that of the best seed of the best point.
    assert len(list((folder / "work" / "models" / "one").glob("units/*/model.pt"))) == 7
    finetune(folder, model, "--tasks STS-B --name one", **changes)
    averages = json.loads((folder / "work" / "results.json").read_text())["averages"][0]
    assert averages["eight_tasks"] is not None and averages["seven_tasks"] == pytest.approx(average)
    assert len(stand_in.trained) == 8 * 4
    assert (folder / "work" / "results.png").stat().st_size > 10_000


def test_small_tasks_start_from_the_best_of_mnli(grid, capsys):
    folder, model, stand_in = grid
    changes = {"lr": [0.05, 0.07], "from_mnli": ["MRPC", "RTE"]}
    running.finetune(
        flags(folder, "finetune", f"--model {model} --plan {plan_file(folder, **changes)} --name a --dry-run")
    )
    out = capsys.readouterr().out
    assert "after MNLI, from its best model: MRPC, RTE, 2 trainings each" in out
    assert "all together, done ones too: at most " in out
    assert not stand_in.trained and not (folder / "work" / "models").exists()
    with pytest.raises(UserError, match="starts RTE from the best model of MNLI, of which there is none"):
        finetune(folder, model, "--tasks RTE,QNLI --name a", **changes)
    assert not stand_in.trained
    finetune(folder, model, "--tasks RTE,MNLI,QNLI --name a", **changes)
    origins = {}
    for words in stand_in.trained:
        origins.setdefault(Path(words[0]).name, set()).add(words[words.index("--finetune-from-model") + 1])
    best = [path for path in (folder / "work" / "models" / "a" / "units").iterdir() if (path / "model.pt").exists()]
    best = [path for path in best if '"MNLI"' in (path / "result.json").read_text()]
    assert json.loads((best[0] / "result.json").read_text())["unit"]["point"][0] == 0.07
    assert origins["QNLI"] == origins["MNLI"] == {str(model)}
    assert origins["RTE"] == {str(best[0] / "model.pt")}
    rows = json.loads((folder / "work" / "results.json").read_text())["rows"]
    assert {row["task"]: row["from_mnli"] for row in rows} == {"MNLI": False, "QNLI": False, "RTE": True}
