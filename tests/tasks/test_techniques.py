"""All training techniques together, through fairseq's commands: resumed, on two ranks, without the files they named."""

from __future__ import annotations

import shutil

import pytest

from fairseq_mos.arch.select import resolve
from fairseq_mos.sampling.regions import read_list
from tests import fairseq_commands as commands
from tests import toy
from tests.supernet_commands import PLUGIN, TRAIN, difference, load, workspace

ALL = [
    *("--inplace-distillation", "1", "--distillation-warmup", "4", "--student-dropout", "off"),
    *("--cost-bins", "3", "--arch-chain", "4", "--extremes-every", "2", "--num-random-archs", "2"),
    *("--arch-window", "0.5:0.9", "--arch-window-from", "3", "--arch-gradient", "sum"),
    *("--loss-weight-by-cost", "0.5", "--router-warmup", "2", "--clip-norm", "1", "--max-epoch", "9"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return workspace(tmp_path_factory.mktemp("techniques"))


def _train(name: str, updates: int, *flags: str) -> list[str]:
    return [*TRAIN, *ALL, "--max-update", str(updates), "--save-dir", name, "--disable-validation", *flags]


def test_resumed_equals_uninterrupted(folder):
    dropout = ("--dropout", "0.2")
    steps = [_train("whole", 7, *dropout), *(_train("parts", updates, *dropout) for updates in (2, 5, 7))]
    commands.run_steps([*steps, [*TRAIN, "--max-update", "7", "--save-dir", "plain", *dropout]], folder)
    last = {name: folder / name / "checkpoint_last.pt" for name in ("whole", "parts", "plain")}
    assert difference(last["whole"], last["parts"]) == 0
    assert difference(last["whole"], last["plain"]) > 1e-3


def test_two_ranks_equal_one_process_with_doubled_update_freq(folder):
    commands.run_steps([_train("one", 6, "--update-freq", "2")], folder)
    launcher = ["bash", str(commands.ROOT / "examples" / "launch_cpu.sh"), "2"]
    commands.run([*launcher, *_train("two", 6)], folder)
    assert difference(folder / "one/checkpoint_last.pt", folder / "two/checkpoint_last.pt") < 1e-6


def test_a_checkpoint_holds_its_list(folder, tmp_path):
    shutil.copytree(folder / "bin", tmp_path / "bin")
    shutil.copy(folder / "space.yaml", tmp_path)
    (tmp_path / "list.txt").write_text(f"{folder / 'smallest.yaml'}\nrandom:3\n")
    listed = ["--arch-list", "list.txt", "--max-update", "2", "--save-dir", "listed"]
    commands.run_steps([[*TRAIN, *listed]], tmp_path)
    (tmp_path / "list.txt").unlink()
    validate = ["fairseq-validate", "bin", *PLUGIN, "--path", "listed/checkpoint_last.pt", "--max-tokens", "200"]
    done = commands.run_steps([[*validate, "--cpu", "--task", "supernet_translation"]], tmp_path)
    assert "smallest_loss" in done.stderr + done.stdout
    kept = read_list(toy.space(), load(tmp_path / "listed/checkpoint_last.pt")["cfg"]["task"]["arch_list"])
    assert kept == (toy.space().smallest(), resolve(toy.space(), "random:3"))
