"""Which checkpoints of a folder are averaged."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import torch
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf

import fairseq_mos
from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.models.averaging import last_checkpoints

LEGACY = {"_name": "translation_multi_simple_epoch", "data": "x", "source_lang": None, "target_lang": None}


def _save(folder: Path, *names: str, updates: int = 0, interval: int = 0, task: object = None) -> None:
    """Writes checkpoints of one weight, the number of updates."""
    fairseq_mos.register()
    config = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    config["checkpoint"]["save_interval_updates"] = interval
    config["model"] = {"_name": "transformer"}
    config["task"] = task or {"_name": "translation", "data": "x"}
    state = {
        "cfg": config,
        "model": {"weight": torch.tensor([float(updates)])},
        "optimizer_history": [{"num_updates": updates, "criterion_name": "x", "lr_scheduler_state": {}}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
        "args": None,
    }
    folder.mkdir(exist_ok=True)
    for name in names:
        torch.save(state, folder / f"checkpoint{name}.pt")


def _names(files: list[Path]) -> list[str]:
    return [file.name.removeprefix("checkpoint").removesuffix(".pt") for file in files]


@pytest.fixture
def updates(tmp_path) -> str:
    """What fairseq leaves of --save-interval-updates 10, with epochs of 30 and 45 updates, and epochs elsewhere."""
    folder = tmp_path / "updates"
    for name, number in (("_1_10", 10), ("_1_20", 20), ("1", 30), ("_2_40", 40), ("2", 45), ("_3_50", 50)):
        _save(folder, name, updates=number, interval=10)
    _save(folder, "_last", "_best", updates=50, interval=10)
    return str(folder)


@pytest.mark.parametrize(
    ("number", "upper_bound", "expected"),
    [
        (1, None, ["_3_50"]),
        # Update 30 ended an epoch and is called checkpoint1; update 45 ended one without being due.
        (3, None, ["1", "_2_40", "_3_50"]),
        (5, None, ["_1_10", "_1_20", "1", "_2_40", "_3_50"]),
        (2, 30, ["_1_20", "1"]),
        (2, 39, ["_1_20", "1"]),
        (1, 29, ["_1_20"]),
    ],
)
def test_an_update_that_ends_an_epoch_is_an_update_checkpoint(updates, number, upper_bound, expected):
    assert _names(last_checkpoints(updates, number, True, upper_bound)) == expected


def test_epochs(updates):
    assert _names(last_checkpoints(updates, 2, False)) == ["1", "2"]
    assert _names(last_checkpoints(updates, 1, False, 1)) == ["1"]


@pytest.mark.parametrize(
    ("there", "suffix", "expected"),
    [
        (["1", "2", "10", "_1_5"], None, ["2", "10"]),
        (["1-shard0", "2-shard0", "10-shard0"], None, ["2-shard0", "10-shard0"]),
        (["1-rank-0", "2-rank-0", "2-rank-1"], "-rank-0", ["1-rank-0", "2-rank-0"]),
        (["1", "2", "1-x", "2-x"], None, ["1", "2"]),
        (["1", "2", "1-x", "2-x"], "-x", ["1-x", "2-x"]),
        (["1_x", "2_x"], "_x", ["1_x", "2_x"]),
        (["1-a", "2-a", "2-b"], None, "checkpoints of -a, -b: give --checkpoint-suffix"),
        (["1", "1-a", "2-a"], None, "1 epoch checkpoints, 2 are needed; --checkpoint-suffix may also be -a"),
        (["1", "2"], "-a", "0 epoch checkpoints ending in -a.pt, 2 are needed"),
        ([], None, "0 epoch checkpoints, 2 are needed"),
    ],
)
def test_suffixes(tmp_path, there, suffix, expected):
    for name in there:
        (tmp_path / f"checkpoint{name}.pt").touch()
    if isinstance(expected, list):
        assert _names(last_checkpoints(str(tmp_path), 2, False, suffix=suffix)) == expected
    else:
        with pytest.raises(UserError, match=re.escape(expected)):
            last_checkpoints(str(tmp_path), 2, False, suffix=suffix)


def test_the_verb_takes_a_suffix(tmp_path):
    for number in (1, 2, 3):
        _save(tmp_path / "run", f"{number}-rank-0", f"{number}-rank-1", updates=number)
    inputs = ["average", "--inputs", str(tmp_path / "run"), "--output", str(tmp_path / "a.pt")]
    assert main([*inputs, "--num-epoch-checkpoints", "2", "--checkpoint-suffix=-rank-1"]) == 0
    assert torch.load(tmp_path / "a.pt", weights_only=True)["model"]["weight"].tolist() == [2.5]


def test_none_of_the_averaged_is_overwritten(updates, capsys):
    last = Path(updates) / "checkpoint2.pt"
    before = last.read_bytes()
    assert main(["average", "--inputs", updates, "--num-epoch-checkpoints", "1", "--output", str(last)]) == 2
    assert f"writing {last} would overwrite {last}, which is read" in capsys.readouterr().err
    assert last.read_bytes() == before


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_no_folder_is_one_line(tmp_path, missing, capsys):
    (tmp_path / "file").touch()
    inputs = ["average", "--inputs", str(tmp_path / missing), "--output", str(tmp_path / "a.pt")]
    assert main([*inputs, "--num-epoch-checkpoints", "2"]) == 2
    err = capsys.readouterr().err
    assert f"cannot read {tmp_path / missing}: N" in err and err.count("\n") == 1


def test_a_task_with_argparse_configuration(tmp_path):
    """As fairseq's translation_multi_simple_epoch saves it."""
    _save(tmp_path, "1", "2", updates=4, task=argparse.Namespace(**LEGACY))
    inputs = [str(tmp_path / f"checkpoint{number}.pt") for number in (1, 2)]
    assert main(["average", "--inputs", *inputs, "--output", str(tmp_path / "a.pt")]) == 0
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert state["model"]["weight"].tolist() == [4] and state["cfg"]["task"] == LEGACY
