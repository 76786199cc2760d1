"""Tuning layer norms and biases alone, of an extracted subnet, through fairseq-train."""

from __future__ import annotations

import sys

import torch

from tests import fairseq_commands as commands
from tests import toy
from tests.supernet_commands import weights


def test_other_tensors_stay_bit_for_bit(trained, tmp_path):
    subnet, plugin = tmp_path / "subnet.pt", ["--user-dir", str(commands.ROOT / "fairseq_mos")]
    extract = [sys.executable, "-m", "fairseq_mos.cli", "extract", "--path", str(trained.path)]
    commands.run([*extract, "--architecture", "smallest", "--output", str(subnet)], tmp_path)
    toy.space().smallest().save(tmp_path / "smallest.yaml")
    train = ["fairseq-train", str(trained.data), *plugin, "--task", "translation", "--arch", "mos_subnet"]
    train += ["--subnet", "smallest.yaml", "--share-decoder-input-output-embed", "--finetune-from-model", str(subnet)]
    train += ["--optimizer", "adam", "--lr", "0.01", "--weight-decay", "0.1", "--max-tokens", "256", "--cpu"]
    train += ["--no-epoch-checkpoints", "--log-format", "none", "--dropout", "0.1"]
    tuned = [*train, "--trainable", "norms-biases", "--max-update"]
    done = commands.run_steps(
        [
            [*tuned, "5", "--save-dir", "tuned"],
            [*tuned, "2", "--save-dir", "resumed"],
            [*tuned, "5", "--save-dir", "resumed"],
            [*train, "--max-update", "2", "--save-dir", "all"],
        ],
        tmp_path,
    )
    before = weights(subnet)
    after, resumed, everything = (weights(tmp_path / f"{n}/checkpoint_last.pt") for n in ("tuned", "resumed", "all"))
    kept = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    small = {name for name in before if "norm" in name or name.endswith("bias")}
    assert kept == before.keys() - small and small
    assert all(torch.equal(after[name], resumed[name]) for name in before)
    assert not any(torch.equal(before[name], everything[name]) for name in kept if name.endswith("fc1.weight"))
    trained_count = sum(before[name].numel() for name in small)
    assert f"(num. trained: {trained_count:,})" in done.stderr + done.stdout
