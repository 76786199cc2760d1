"""Training with a teacher through fairseq's commands: dense students and supernets of both families."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fairseq import tasks
from omegaconf import OmegaConf
from torch import nn

from fairseq_mos.cli import main
from fairseq_mos.criterions.teacher import Teacher
from fairseq_mos.errors import UserError
from tests import fairseq_commands as commands
from tests import supernet_commands
from tests.criterions.kit import KITS
from tests.families.masked_lm import commands as masked_lm
from tests.supernet_commands import PLUGIN, difference, load

LAUNCHER = ["bash", str(commands.ROOT / "examples" / "launch_cpu.sh"), "2"]
_BERT = ["fairseq-train", "bin", "--task", "masked_lm", "--arch", "roberta_base", "--optimizer", "adam"]
_BERT += ["--lr", "0.005", "--batch-size", "8", "--cpu", "--log-format", "simple", "--log-interval", "1"]
_BERT += ["--num-workers", "0", *masked_lm.DATA]
for _name, _size in {"layers": 2, "embed-dim": 16, "ffn-embed-dim": 32, "attention-heads": 2}.items():
    _BERT += [f"--encoder-{_name}", str(_size)]


@dataclass(frozen=True)
class Family:
    """How a family is trained: flags of a supernet, of fairseq's own model, its criterion and ours."""

    supernet: tuple[str, ...]
    stock: tuple[str, ...]
    own: tuple[str, ...]
    taught: tuple[str, ...]


FAMILIES = {
    "translation": Family(
        tuple(supernet_commands.TRAIN),
        ("fairseq-train", "bin", *commands.TINY, "--log-interval", "1"),
        ("--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
        ("--criterion", "supernet_label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
    ),
    "masked_lm": Family(
        tuple(masked_lm.TRAIN), tuple(_BERT), ("--criterion", "masked_lm"), ("--criterion", "supernet_masked_lm")
    ),
}


STOCK = ("--teacher", "stock/checkpoint_last.pt", "--distillation-weight", "0.6", "--distillation-temperature", "2")
SUPERNET = ("--teacher", "supernet/checkpoint_last.pt", "--teacher-architecture", "random:1", "--dropout", "0.3")
KINDS = pytest.mark.parametrize("kind", ["stock", "supernet"])


@dataclass(frozen=True)
class Trained:
    """What one process has trained in a folder; `logs` by the name of the folder of checkpoints."""

    name: str
    family: Family
    folder: Path
    logs: dict[str, str]

    def checkpoint(self, run: str) -> Path:
        return self.folder / run / "checkpoint_last.pt"

    def logged(self, run: str, name: str) -> list[float]:
        return [float(value) for value in re.findall(rf"\b{name}=([\d.e-]+)", self.logs[run])]


def _train(family: Family, kind: str, run: str, updates: int, *flags: str) -> list[str]:
    words = [*family.stock, *family.taught, *PLUGIN] if kind == "stock" else [*family.supernet]
    words += ["--no-epoch-checkpoints", "--max-epoch", "9", "--max-update", str(updates), "--save-dir", run]
    return [*words, *flags]


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """A corpus, two teachers (`stock`, `supernet`) and students of them: dense ones and supernets."""
    family, folder = FAMILIES[request.param], tmp_path_factory.mktemp(request.param)
    (supernet_commands if request.param == "translation" else masked_lm).workspace(folder)
    steps = {
        "stock": _train(family, "stock", "stock", 20, *family.own),
        "supernet": _train(family, "supernet", "supernet", 4),
        "one": _train(family, "supernet", "one", 3, *STOCK, "--update-freq", "2"),
        "half": _train(family, "stock", "half", 2, *STOCK, "--fp16", "--fp16-no-flatten-grads"),
    }
    for kind in ("stock", "supernet"):
        steps[f"taught-{kind}"] = _train(family, kind, f"taught-{kind}", 12, *STOCK)
        # Dropout, because opening the teacher must not change what is drawn.
        steps[f"whole-{kind}"] = _train(family, kind, f"whole-{kind}", 6, *SUPERNET)
        steps[f"parts-{kind}"] = _train(family, kind, f"parts-{kind}", 2, *SUPERNET)
    if request.param == "masked_lm":
        # A teacher that has learnt so much that the log's three digits leave something of the student's distance.
        steps["sharp"] = _train(family, "stock", "sharp", 40, *family.own, "--lr", "0.05")
        layers = ["--teacher", "sharp/checkpoint_last.pt", "--relation-weight", "1", "--relation-heads", "8"]
        steps["layers"] = _train(family, "supernet", "layers", 12, *STOCK, *layers)
    done = commands.run_steps(list(steps.values()), folder)
    logs = re.split(r"done training in .*", done.stderr + done.stdout)
    assert len(logs) == len(steps) + 1
    return Trained(request.param, family, folder, dict(zip(steps, logs)))


@KINDS
def test_the_divergence_falls_and_the_checkpoint_names_the_teacher(trained, kind):
    found = trained.logged(f"taught-{kind}", "distillation_loss")
    assert len(found) == 12 and sum(found[-3:]) < sum(found[:3])
    assert re.search(r"\| valid \|.* loss", trained.logs[f"taught-{kind}"])
    assert not re.search(r"\| valid \|.*distillation_loss", trained.logs[f"taught-{kind}"])
    state, plain = load(trained.checkpoint(f"taught-{kind}")), load(trained.checkpoint(kind))
    criterion = state["cfg"]["criterion"]
    assert (criterion["teacher"], criterion["distillation_weight"]) == (STOCK[1], 0.6)
    # Nothing of the teacher is in it.
    assert state["model"].keys() == plain["model"].keys() and state.get("criterion") is None


def test_relations_fall_too(trained):
    if trained.name == "masked_lm":
        found, without = (trained.logged("layers", name) for name in ("relation_loss", "hidden_loss"))
        assert len(found) == 12 and sum(found[-3:]) < sum(found[:3]) and not without


def test_stopped_and_resumed_equals_uninterrupted(trained):
    kinds = ("stock", "supernet")
    steps = [_train(trained.family, kind, f"parts-{kind}", 6, *SUPERNET) for kind in kinds]
    # And a checkpoint is validated without its teacher.
    validate = ["fairseq-validate", "bin", *PLUGIN, "--task", trained.name, "--batch-size", "4", "--cpu"]
    validate += masked_lm.DATA if trained.name == "masked_lm" else []
    state = load(trained.checkpoint("taught-stock"))
    state["cfg"]["criterion"]["teacher"] = "gone.pt"
    torch.save(state, trained.folder / "moved.pt")
    steps.append([*validate, "--path", "moved.pt"])
    # Nor does a training that is finished open it.
    (trained.folder / "finished").mkdir()
    (trained.folder / "finished" / "checkpoint_last.pt").write_bytes(trained.checkpoint("taught-stock").read_bytes())
    steps.append(_train(trained.family, "stock", "finished", 12, "--teacher", "gone.pt"))
    done = commands.run_steps(steps, trained.folder)
    for kind in kinds:
        whole, parts = (trained.checkpoint(f"{name}-{kind}") for name in ("whole", "parts"))
        assert load(parts)["optimizer_history"][-1]["num_updates"] == 6
        assert difference(whole, parts) == 0
        assert difference(whole, trained.checkpoint(kind)) > 1e-3
    printed = re.findall(r"\| valid .*\| loss ([\d.]+)", trained.logs["taught-stock"])[-1]
    told = (done.stderr + done.stdout).split("done training")
    assert f"| loss {printed} " in told[-2] and "this training is finished" in told[-2]
    assert load(trained.checkpoint("finished"))["optimizer_history"][-1]["num_updates"] == 12


def test_two_ranks_equal_one_process_with_doubled_update_freq(trained):
    commands.run([*LAUNCHER, *_train(trained.family, "supernet", "two", 3, *STOCK)], trained.folder)
    assert difference(trained.checkpoint("one"), trained.checkpoint("two")) < 1e-6
    assert difference(trained.checkpoint("one"), trained.checkpoint("supernet")) > 1e-3


def test_half_precision_logs_what_single_precision_does(trained):
    found, expected = (trained.logged(run, "distillation_loss") for run in ("half", "taught-stock"))
    assert found[0] == pytest.approx(expected[0], rel=0.02)


@pytest.fixture
def places(trained, tmp_path) -> dict[str, str]:
    """Teachers, good and bad, by the name that the table below gives them."""
    found = {name.upper(): trained.checkpoint(name) for name in ("stock", "supernet")}
    found.update({name: tmp_path / f"{name.lower()}.pt" for name in ("MISSING", "DAMAGED", "ALONE", "LSTM", "FAMILY")})
    found["DAMAGED"].write_bytes(trained.checkpoint("stock").read_bytes()[:1000])
    # As many entries, but not the same ones.
    found["WORDS"] = tmp_path / "words" / "checkpoint.pt"
    found["WORDS"].parent.mkdir()
    state = load(trained.checkpoint("stock"))
    if trained.name == "translation":
        state["cfg"]["task"].update(source_lang="a", target_lang="b")
    torch.save(state, found["WORDS"])
    for file in (trained.folder / "bin").glob("dict*.txt"):
        (tmp_path / "words" / file.name).write_text(file.read_text().replace("w7 ", "w99 "))
    # Where it was trained is no longer there.
    state["cfg"]["task"]["data"] = str(tmp_path / "gone")
    torch.save(state, found["ALONE"])
    other = {"translation": "roberta_base", "masked_lm": "transformer"}[trained.name]
    for name, kind in (("LSTM", "lstm"), ("FAMILY", other)):
        vars(state["cfg"]["model"]).update(_name=kind, arch=kind)
        torch.save(state, found[name])
    return {name: str(path) for name, path in found.items()}


def _open(trained, path: str, architecture: str | None) -> nn.Module:
    cfg = OmegaConf.create(load(trained.checkpoint("stock"))["cfg"]["task"])
    cfg.data = str(trained.folder / "bin")
    return Teacher(path, architecture, trained.name, tasks.setup_task(cfg)).model(nn.Linear(1, 1))


def test_teachers_that_open(trained, places, tmp_path):
    stock, alone = (_open(trained, places[name], None) for name in ("STOCK", "ALONE"))
    tables = [next(model.parameters()) for model in (stock, alone)]
    assert tables[0].equal(tables[1]) and not stock.training
    # A supernet's architecture, and that exported, say the same.
    export = ["export", "--path", places["SUPERNET"], "--architecture", "smallest", "--format", "safetensors"]
    export += ["--data", str(trained.folder / "bin"), "--output", str(tmp_path / "exported")]
    assert main(export) == 0
    dense = _open(trained, places["SUPERNET"], "smallest"), _open(trained, str(tmp_path / "exported"), None)
    assert dense[0].architecture == dense[1].architecture and not hasattr(dense[0], "activate")
    sample = KITS[trained.name].batch()
    inputs = {name: value.clamp(max=20) for name, value in sample["net_input"].items()}
    first, second = (model(**inputs)[0] for model in dense)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


BAD = [
    ("MISSING", None, "missing.pt does not exist"),
    ("DAMAGED", None, "damaged"),
    ("FAMILY", None, "is of family"),
    ("LSTM", None, "is of model 'lstm', allowed: "),
    ("WORDS", None, "has another source dictionary"),
    ("SUPERNET", None, "is a supernet, which has many architectures: give --teacher-architecture"),
    ("SUPERNET", "nowhere.yaml", "nowhere.yaml"),
    ("STOCK", "largest", "has one architecture: leave --teacher-architecture out"),
]


@pytest.mark.parametrize(("name", "architecture", "message"), BAD)
def test_bad_teachers_are_one_line(trained, places, name, architecture, message):
    with pytest.raises(UserError) as caught:
        _open(trained, places[name], architecture)
    line = str(caught.value)
    assert line.startswith("--teacher: ") and message in line and "\n" not in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--teacher", "missing.pt"], "error: --teacher: checkpoint missing.pt does not exist"),
        (["--inplace-distillation", "0.3"], "--inplace-distillation is for supernets and their tasks: give --teacher"),
    ],
)
def test_training_ends_with_exit_code_2(trained, flags, message):
    step = _train(trained.family, "stock", "x", 1, *flags)
    done = commands.run([sys.executable, "-m", "fairseq_cli.train", *step[1:]], trained.folder, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1 and message in lines[0]
    assert "begin training epoch" not in done.stderr + done.stdout, "before the first update"
    assert not (trained.folder / "x" / "checkpoint_last.pt").exists()
