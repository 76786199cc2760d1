"""GLUE: files, grid, fine-tuning end to end on a tiny stock roberta, scores and tables."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from fairseq.logging import metrics

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from glue import predict, published, results, running, starting, tasks, units  # noqa: E402
from glue.arguments import parse  # noqa: E402
from glue.plan import OWN, read_plan  # noqa: E402
from glue.preparing import _pieces, prepare  # noqa: E402
from glue.reading import read_split  # noqa: E402
from glue.tasks import SEVEN, TASKS  # noqa: E402
from pipeline import commands  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402
from pipeline.text import read_lines  # noqa: E402

from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.metrics.glue import MEASURES, Predictions, glue_scores, write_predictions  # noqa: E402
from tests import glue_toy  # noqa: E402

PLANS = sorted((ROOT / "examples" / "glue" / "plans").glob("*.yaml"))
PAIRS = {"MRPC": ("0", "1"), "MNLI": TASKS["MNLI"].labels, "RTE": TASKS["RTE"].labels}
POINT = {"lr": [0.01], "batch": [8], "epochs": [10], "seeds": [1]}

# --- reading -----------------------------------------------------------------------------------------

FILES = {
    "CoLA": ["gj04\t1\t\tThe sailors rode the breeze clear.", "ad03\t0\t*\tThey drank the pub ."],
    "SST-2": ["sentence\tlabel", "hide new secretions \t0"],
    "MRPC": ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t70\t71\tHe said "no" .\tAmrozi "accused .'],
    "QQP": ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "1\t2\t3\tHow ?\tWhy ?\t0", "broken\tline"],
    "STS-B": ["genre\tMSRvid\t2012test\t0001\t5.000\tA plane is taking off.\tAn air plane is taking off."],
    "MNLI": ["index\tsentence1\tsentence2\tlabel1\tgold_label", "0\tOne.\tTwo.\tneutral\tcontradiction"],
    "QNLI": ["index\tquestion\tsentence\tlabel", "0\tWhen?\tThen.\tnot_entailment"],
    "RTE": ["index\tsentence1\tsentence2\tlabel", "0\tOne.\tTwo.\tentailment"],
}


@pytest.mark.parametrize("name", TASKS)
def test_published_columns(tmp_path, name):
    glue_toy.write(tmp_path / "train.tsv", FILES[name])
    found = read_split(TASKS[name], tmp_path / "train.tsv")
    expected = {
        "CoLA": (["1", "0"], ("The sailors rode the breeze clear.",)),
        "SST-2": (["0"], ("hide new secretions",)),
        # A quotation mark is text, not the beginning of a cell.
        "MRPC": (["1"], ('He said "no" .', 'Amrozi "accused .')),
        "QQP": (["0"], ("How ?", "Why ?")),
        "STS-B": (["5.000"], ("A plane is taking off.", "An air plane is taking off.")),
        "MNLI": (["contradiction"], ("One.", "Two.")),
        "QNLI": (["not_entailment"], ("When?", "Then.")),
        "RTE": (["entailment"], ("One.", "Two.")),
    }
    assert (found.labels, found.sentences[0]) == expected[name]
    assert found.skipped == (name == "QQP")


def test_both_published_kinds_of_sts_b_give_the_same(tmp_path):
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    glue_toy.write(tmp_path / "glue.tsv", [head, "0\tg\tf\t2012\t1\tnone\tnone\tOne.\tTwo.\t3.8"])
    glue_toy.write(tmp_path / "benchmark.tsv", ["g\tf\t2012\t1\t3.8\tOne.\tTwo.", "g\tf\t2012\t2\t0\tA\tB\tlicence"])
    one, two = (read_split(TASKS["STS-B"], tmp_path / f"{name}.tsv") for name in ("glue", "benchmark"))
    assert (one.labels[0], one.sentences[0]) == (two.labels[0], two.sentences[0]) == ("3.8", ("One.", "Two."))
    assert len(two.labels) == 2


@pytest.mark.parametrize(
    ("task", "lines", "message"),
    [
        ("SST-2", ["sentence\tlabel", "good\t1", "bad\t2"], r"line 3, column label is '2', allowed: 0, 1$"),
        ("SST-2", ["text\tlabel", "good\t1"], r"line 1 has the columns 'text, label', expected for SST-2: .*sentence"),
        ("SST-2", ["sentence\tlabel", "good"], r"line 2 has 1 columns, expected 2, as its first line"),
        ("SST-2", ["sentence\tlabel"], "is empty: it has no example"),
        ("SST-2", [], "is empty: it has no example"),
        ("CoLA", ["gj04\tyes\t\tA sentence."], "expected for CoLA: 4 columns without names, number 2 the label"),
        ("CoLA", ["gj04\t1\t\tA.", "gj04\tyes\t\tB."], "line 2, column 2 is 'yes', allowed: 0, 1"),
        ("MNLI", [*FILES["MNLI"], "1\tA.\tB.\tx\t-"], "column gold_label is '-', allowed: contradiction, neutral, ent"),
        ("STS-B", [*FILES["STS-B"], "g\tf\t1\t1\t5.1\tA\tB"], r"line 2, column 5 is '5.1', allowed: a number from 0 to 5"),
        ("STS-B", [*FILES["STS-B"], "g\tf\t1\t1\tnan\tA\tB"], "column 5 is 'nan'"),
        ("STS-B", [*FILES["STS-B"], "g\tf\t1\t1\t5.0\tA"], "line 2 has 6 columns, expected 7 or more"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, task, lines, message):
    path = tmp_path / "train.tsv"
    glue_toy.write(path, lines)
    with pytest.raises(PipelineError, match=message) as error:
        read_split(TASKS[task], path)
    assert error.value.code == 2 and str(path) in str(error.value) and "\n" not in str(error.value)


def test_bad_encoding_is_named(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"sentence\tlabel\nfine\t1\ncaf\xe9\t0\n")
    with pytest.raises(PipelineError, match="line 3 is not UTF-8 text"):
        read_split(TASKS["SST-2"], tmp_path / "train.tsv")


@pytest.mark.parametrize(("task", "train", "dev"), [("SST-2", 60614, 6735), ("STS-B", 5749, 1500), ("RTE", 1244, 139)])
def test_real_files(shared_data, task, train, dev):
    folder = shared_data(f"glue/{task}")
    sizes = [len(read_split(TASKS[task], running_file(folder, names)).labels) for _, names in TASKS[task].splits]
    assert sizes == [train, dev]


def running_file(folder: Path, names: tuple[str, ...]) -> Path:
    from glue.reading import find_file

    return find_file(folder, names)


def test_the_longer_sentence_of_a_pair_is_cut():
    columns, cut = _pieces(
        [("a b c d e f", "x y"), ("a b", "x y"), ("a b c d", "u v w x y z")], lambda lines: [s.split() for s in lines], 10
    )
    # 10 tokens: six pieces, and for each sentence what begins and what ends it.
    assert columns == [[["a", "b", "c", "d"], ["a", "b"], ["a", "b", "c"]], [["x", "y"], ["x", "y"], ["u", "v", "w"]]]
    assert cut == 2


# --- plans and units ---------------------------------------------------------------------------------


def test_the_published_plan_is_the_published_grid():
    plan = read_plan(PLANS[0])
    assert PLANS[0].stem == "published"
    assert (plan.lr, plan.batch, plan.epochs) == ([5e-5, 3e-5, 2e-5], [16, 32], [2, 3, 4])
    assert plan.from_mnli == ["MRPC", "RTE"] and plan.max_updates is None
    small = read_plan(PLANS[1])
    assert len(small.lr) == len(small.batch) == len(small.epochs) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": ["5e-5"]}, r"lr\[0\]: expected `?float`?, got `?str`?; YAML reads 5e-5 as text: write 0.00005"),
        ({"lr": []}, "lr: expected"),
        ({"batch": [16, 16]}, "batch holds a value twice"),
        ({"epochs": [0]}, r"epochs\[0\]"),
        ({"from_mnli": ["CoLA"]}, r"from_mnli\[0\]"),
        ({"flags": ["--max-update 3"]}, "flags holds --max-update, which the runner sets itself"),
        ({"rate": 1}, "rate"),
    ],
)
def test_bad_plans_are_named(tmp_path, changes, message):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**POINT, **changes}))
    with pytest.raises(UserError, match=message):
        read_plan(path)


def unit_of(**changes) -> units.Unit:
    data = units.Data("RTE", Path("data"), "d", 2490, 128, {"valid": 277})
    start = starting.Start(Path("model.pt"), "m", "roberta", {"--encoder-layers": ["2"]}, 512, 1, 1)
    plan = msgspec.structs.replace(read_plan(PLANS[1]), **changes.pop("plan", {}))
    return units.units_of(plan, data, start, [1], **changes)[0]


def test_the_linear_decay_ends_with_the_training():
    """fairseq wants the updates of the decay; the last batch of an epoch is a smaller one."""
    flags = unit_of().flags
    assert flags["--total-num-update"] == flags["--max-update"] == [str(78 * 3)]
    assert (flags["--warmup-updates"], flags["--weight-decay"], flags["--max-positions"]) == (["0"], ["0"], ["512"])
    assert unit_of(plan={"max_updates": 5}).updates == 5


def test_a_digest_depends_on_what_determines_the_outcome():
    base = unit_of()
    assert unit_of().digest == base.digest
    others = [
        unit_of(plan={"lr": [0.1]}),
        unit_of(plan={"flags": ["--dropout 0.2"]}),
        unit_of(teacher=("t", Path("t.pt"))),
        unit_of(teacher=("t", Path("t.pt")), distillation=(0.4, 1.0)),
        unit_of(teacher=("t", Path("t.pt")), distillation=(0.5, 2.0)),
        unit_of(source=("mnli", Path("mnli.pt"))),
    ]
    assert len({unit.digest for unit in [base, *others]}) == 7
    assert unit_of(teacher=("t", Path("elsewhere.pt"))).digest == others[2].digest


def test_the_plan_may_set_no_flag_of_the_runner():
    own = set(unit_of().flags) - {name.split()[0] for name in read_plan(PLANS[1]).flags} - {"--encoder-layers"}
    free = {"--optimizer", "--weight-decay", "--clip-norm", "--required-batch-size-multiple", "--num-workers"}
    free |= {"--disable-validation", "--no-epoch-checkpoints", *units.NEUTRAL}
    assert own - free <= set(OWN)


# --- a checkpoint's flags ----------------------------------------------------------------------------


def test_a_stock_checkpoint_tells_its_network_and_size(tmp_path):
    path = glue_toy.roberta(tmp_path)
    start = starting.open_start(path, tmp_path / "dict.txt")
    assert (start.arch, start.positions, start.architecture) == ("roberta", glue_toy.POSITIONS, None)
    assert start.flags["--encoder-layers"] == ["1"] and start.flags["--encoder-ffn-embed-dim"] == ["32"]
    assert not {"--dropout", "--max-positions"} & set(start.flags)
    # 30 words, 4 special symbols and the mask; 24 positions, counted from 2.
    embeddings = 16 * (35 + 26)
    layer = 4 * (16 * 16 + 16) + (16 * 32 + 32) + (32 * 16 + 16) + 2 * 32
    head = 16 * 16 + 16 + 32
    # fairseq's norm of the embeddings, and the bias of the output layer.
    assert start.params == embeddings + layer + head + 35 + 32 * start_norms(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dict.txt").write_text("one 1\n")
    with pytest.raises(UserError, match="pretrained.pt"):
        starting.open_start(path, tmp_path / "other" / "dict.txt")


def start_norms(path: Path) -> int:
    from fairseq_mos.models.loading import load_state

    names = load_state(str(path))["model"]
    return sum(name.endswith("sentence_encoder.layernorm_embedding.weight") for name in names)


# --- end to end --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a pretrained model, four prepared tasks and one fine-tuning of each; see the plan."""
    folder = tmp_path_factory.mktemp("glue")
    model, patch = glue_toy.roberta(folder), pytest.MonkeyPatch()
    patch.setattr(commands, "run", glue_toy.forked)
    glue_toy.write_sst(folder / "raw")
    glue_toy.write_sts(folder / "raw")
    glue_toy.write_pairs(folder / "raw", "MRPC", PAIRS["MRPC"], number=13)
    glue_toy.write_pairs(folder / "raw", "MNLI", PAIRS["MNLI"])
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
    student = glue_toy.roberta(folder, seed=7, width=8, name="small.pt")
    finetune(folder, student, "--tasks SST-2 --teacher base")
    rows = json.loads((folder / "work" / "results.json").read_text())["rows"]
    assert [(row["model"], row["distilled"]) for row in rows] == [("base", False), ("small", True)]
    assert rows[1]["mean"] >= 90
    log = next((folder / "work" / "models" / "small" / "units").glob("*/train.log")).read_text()
    assert '"soft_loss"' in log
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
    finetune(folder, model, f"--tasks {task} --name {task.lower()} --keep-all", epochs=[1])
    unit = next((folder / "work" / "models" / task.lower() / "units").iterdir())
    opened, problem = predict.open_model(unit / "model.pt", folder / "work" / "data" / task)
    split = "valid1" if task == "MNLI" else "valid"
    found = [predict.predictions(opened, problem, split, size) for size in (1, 4, 64)]
    number = len(problem.datasets[split])
    assert [len(one.labels) for one in found] == [number] * 3 and number % 8
    assert found[0].labels == found[1].labels == found[2].labels
    raw = json.loads((unit / "result.json").read_text())["result"]["scores"][split]
    for one in found:
        assert glue_scores(task, one.labels, one.predictions) == pytest.approx(raw, abs=1e-3)
    labels = read_split(TASKS[task], running_file(folder / "raw" / task, dict(TASKS[task].splits)[split])).labels
    assert found[0].labels == (pytest.approx(list(map(float, labels))) if task == "STS-B" else labels)
    told = fairseqs(task, opened, problem, split)
    names = {"f1": "f1", "pearson": "pearson", "spearman": "spearman", "accuracy": "accuracy"}
    for measure in MEASURES[task]:
        assert told[names[measure]] == pytest.approx(raw[measure], abs=0.051)


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


def test_a_failed_training_leaves_one_line_and_exit_code_1(prepared, monkeypatch, capsys):
    folder, model = prepared

    def broken(module, arguments, log, *rest, **options):
        raise PipelineError(f"{module} failed; log: {log}", 1)

    monkeypatch.setattr(commands, "run", broken)
    finished_before = results.systems_of(folder / "work")
    assert finished_before
    with pytest.raises(PipelineError, match="1 trainings failed: SST-2, lr 0.02") as error:
        finetune(folder, model, "--tasks SST-2 --name base", lr=[0.02])
    assert error.value.code == 1


def test_data_that_is_longer_than_the_model_is_refused(prepared, monkeypatch):
    folder, model = prepared
    long = units.read_data(folder / "work", "SST-2")
    monkeypatch.setattr(running, "read_data", lambda *_: msgspec_replace(long, length=25))
    with pytest.raises(UserError, match="SST-2 is prepared with 25 tokens, .* has 24 positions"):
        finetune(folder, model, "--tasks SST-2 --name base")


def msgspec_replace(data, **changes):
    from dataclasses import replace

    return replace(data, **changes)


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
    assert "after MNLI, from its best model: MRPC, RTE, 2 trainings each" in capsys.readouterr().out
    assert not stand_in.trained and not (folder / "work" / "models").exists()
    with pytest.raises(UserError, match="starts RTE from the best model of MNLI, of which there is none"):
        finetune(folder, model, "--tasks RTE --name a", **changes)
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


# --- published figures and flags ----------------------------------------------------------------------


def test_published_averages_are_those_of_the_published_scores():
    for row in published.PUBLISHED:
        if row.scores:
            assert set(row.scores) == set(TASKS)
            assert round(statistics.mean(row.scores.values()), 1) == row.average


def test_every_task_has_measures():
    assert list(tasks.TASKS) == ["CoLA", "SST-2", "MRPC", "QQP", "STS-B", "MNLI", "QNLI", "RTE"]
    assert set(MEASURES) == set(TASKS) and len(SEVEN) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "VERB"),
        (["finetune", "--model", "nothing.pt"], "--model nothing.pt is no file"),
        (["finetune", "--model", __file__, "--plan", "huge"], "--plan huge is no file"),
        (["finetune", "--model", __file__, "--tasks", "WNLI"], "'WNLI' is not allowed; names of CoLA"),
        (["finetune", "--model", __file__, "--seeds", "1,1"], "a seed stands there twice"),
        (["finetune", "--model", __file__, "--temperature", "0"], "--temperature is 0.0, allowed: above 0"),
        (["finetune", "--model", __file__, "--distillation-weight", "2"], "--distillation-weight is 2.0"),
        (["finetune", "--model", __file__, "--name", "../x"], "is no name"),
        (["prepare", "--data", "nowhere", "--dict", __file__, "--bpe", "none"], "--data nowhere is no folder"),
        (["prepare", "--data", ".", "--dict", __file__, "--bpe", "no.model"], "--bpe no.model is no file"),
        (["prepare", "--data", str(ROOT / "docs"), "--dict", __file__, "--bpe", "none"], "has no folder of CoLA"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(words, message, capsys):
    with pytest.raises(SystemExit) as error:
        parse(words)
    said = capsys.readouterr().err
    assert error.value.code == 2 and message in said and said.count("\n") == 1


def test_help_needs_nothing_but_python():
    code = "import sys; sys.argv = ['x', 'glue', 'finetune', '--help']; import runpy; runpy.run_module('glue.arguments', "
    code += "run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "--teacher" in done.stdout) == (0, True), done.stderr
