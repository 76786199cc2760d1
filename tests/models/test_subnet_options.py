"""A subnet whose network options are those of an extracted checkpoint, through fairseq-train."""

from __future__ import annotations

import sys

import torch

from tests import fairseq_commands as commands
from tests import toy
from tests.supernet_commands import difference, load, weights


def test_a_checkpoint_says_which_function_its_weights_are_of(trained, tmp_path):
    plugin = ["--user-dir", str(commands.ROOT / "fairseq_mos")]
    extract = [sys.executable, "-m", "fairseq_mos.cli", "extract", "--path", str(trained.path)]
    commands.run([*extract, "--architecture", "smallest", "--output", "subnet.pt"], tmp_path)
    toy.space().smallest().save(tmp_path / "smallest.yaml")
    train = ["fairseq-train", str(trained.data), *plugin, "--task", "translation", "--arch", "mos_subnet"]
    train += ["--optimizer", "adam", "--lr", "0.01", "--max-tokens", "256", "--cpu", "--no-epoch-checkpoints"]
    train += ["--log-format", "none", "--dropout", "0.2", "--max-update", "2"]
    start = ["--finetune-from-model", "subnet.pt"]
    # What the supernet was trained with.
    said = ["--subnet", "smallest.yaml", "--share-decoder-input-output-embed"]
    adopted = [*train, "--subnet", "subnet.pt"]
    commands.run_steps(
        [
            [*train, *said, *start, "--save-dir", "said"],
            [*adopted, *start, "--save-dir", "adopted"],
            [*adopted, "--save-dir", "scratch"],
        ],
        tmp_path,
    )
    last = {name: tmp_path / name / "checkpoint_last.pt" for name in ("said", "adopted", "scratch")}
    assert difference(last["said"], last["adopted"]) == 0
    assert difference(last["said"], last["scratch"]) > 0.01, "options are taken, weights are not"
    kept = load(last["adopted"])["cfg"]["model"]
    assert kept["share_decoder_input_output_embed"] and kept["architecture_definition"] and kept["dropout"] == 0.2
    # It stands by itself.
    (tmp_path / "subnet.pt").rename(tmp_path / "gone.pt")
    found = ["fairseq-validate", str(trained.data), *plugin, "--path", str(last["adopted"]), "--cpu"]
    commands.run([*found, "--max-tokens", "256", "--task", "translation"], tmp_path)
    assert weights(last["adopted"]).keys() == weights(tmp_path / "gone.pt").keys()

    refused = [*train, "--save-dir", "bad", "--subnet"]
    for flags, message in (
        (["gone.pt", "--activation-fn", "gelu"], "--activation-fn is gelu, but relu in --subnet gone.pt"),
        (["gone.pt", "--decoder-embed-dim", "7"], "--decoder-embed-dim 7 contradicts gone.pt"),
        ([str(trained.path)], f"--subnet {trained.path} is a supernet, expected what fairseq-mos extract wrote"),
        (["missing.pt"], "missing.pt"),
    ):
        done = commands.run([*refused, *flags], tmp_path, check=False)
        assert done.returncode == 2 and message in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "bad").exists() or not any((tmp_path / "bad").iterdir())


def test_of_a_checkpoint_of_another_model(tmp_path, trained):
    torch.save({"model": {}, "cfg": None}, tmp_path / "empty.pt")
    train = ["fairseq-train", str(trained.data), "--user-dir", str(commands.ROOT / "fairseq_mos"), "--cpu"]
    train += ["--task", "translation", "--arch", "mos_subnet", "--subnet", "empty.pt", "--max-tokens", "256"]
    done = commands.run([*train, "--optimizer", "adam"], tmp_path, check=False)
    assert done.returncode == 2 and "empty.pt" in done.stderr.strip().splitlines()[-1]
