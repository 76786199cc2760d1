"""GLUE: files, grid, fine-tuning end to end on a tiny stock roberta, scores and tables."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from fairseq import options

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from glue import published, starting, tasks, units  # noqa: E402
from glue.arguments import parse  # noqa: E402
from glue.plan import OWN, read_plan  # noqa: E402
from glue.preparing import _pieces  # noqa: E402
from glue.reading import find_file, read_split  # noqa: E402
from glue.tasks import SEVEN, TASKS  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402

from fairseq_mos.arch import Architecture  # noqa: E402
from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.families import family_of  # noqa: E402
from fairseq_mos.metrics.glue import MEASURES  # noqa: E402
from tests import glue_toy  # noqa: E402

PLANS = {path.stem: path for path in sorted((ROOT / "examples" / "glue" / "plans").glob("*.yaml"))}
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
        ("STS-B", [*FILES["STS-B"], "g\tf\t1\t1\t5.1\tA\tB"], "line 2, column 5 is '5.1', allowed: a number from 0 "),
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
    sizes = [len(read_split(TASKS[task], find_file(folder, names)).labels) for _, names in TASKS[task].splits]
    assert sizes == [train, dev]


def test_the_longer_sentence_of_a_pair_is_cut():
    pairs = [("a b c d e f", "x y"), ("a b", "x y"), ("a b c d", "u v w x y z")]
    columns, cut = _pieces(pairs, lambda lines: [line.split() for line in lines], 10)
    # 10 tokens: six pieces, and for each sentence what begins and what ends it.
    assert columns == [[["a", "b", "c", "d"], ["a", "b"], ["a", "b", "c"]], [["x", "y"], ["x", "y"], ["u", "v", "w"]]]
    assert cut == 2


# --- plans and units ---------------------------------------------------------------------------------


def test_the_published_plan_is_the_published_grid():
    plan = read_plan(PLANS["published"])
    assert (plan.lr, plan.batch, plan.epochs) == ([5e-5, 3e-5, 2e-5], [16, 32], [2, 3, 4])
    assert plan.from_mnli == ["MRPC", "RTE"] and plan.max_updates is None
    small = read_plan(PLANS["small"])
    assert len(small.lr) == len(small.batch) == len(small.epochs) == 1
    other = read_plan(PLANS["autodistil"])
    assert (other.lr, other.batch, other.epochs, other.from_mnli) == ([2e-5], [32], [20], [])


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
    plan = msgspec.structs.replace(read_plan(PLANS["small"]), **changes.pop("plan", {}))
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
    own = set(unit_of().flags) - {name.split()[0] for name in read_plan(PLANS["small"]).flags} - {"--encoder-layers"}
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
    # And the norm of the embeddings, and the bias of the output layer.
    assert start.params == embeddings + layer + head + 32 + 35
    assert start.params_no_embed == start.params - embeddings - head - 35
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dict.txt").write_text("one 1\n")
    with pytest.raises(UserError, match="dict.txt has 6 entries with <mask>, but the model was trained with 35"):
        starting.open_start(path, tmp_path / "other" / "dict.txt")


@pytest.mark.parametrize("bottlenecks", ["merged", "apart"])
def test_a_subnet_s_checkpoint_tells_its_network(tmp_path, bottlenecks):
    start = starting.open_start(glue_toy.subnet(tmp_path, bottlenecks, "subnet.pt"), tmp_path / "dict.txt")
    assert (start.arch, start.positions) == ("mos_roberta_subnet", glue_toy.POSITIONS)
    arch = Architecture.load(start.architecture)
    assert set(arch.encoder.hidden_dims) == {12}
    words = [word for name, values in start.flags.items() for word in (name, *values)]
    parser = options.get_training_parser()
    command = ["data", "--task", "sentence_prediction", "--arch", start.arch, "--max-positions", "24", *words]
    args = options.parse_args_and_arch(parser, command)
    assert (args.bottlenecks, args.layer_norm_eps) == (bottlenecks, 1e-12)
    assert start.params_budget == family_of(arch).counts(arch)["params_budget"] > 0


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
    code = "sys.argv = ['x', 'glue', 'finetune', '--help']; import runpy; "
    code += "runpy.run_module('glue.arguments', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "--teacher" in done.stdout) == (0, True), done.stderr
