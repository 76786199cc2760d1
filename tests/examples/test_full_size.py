"""The full-size WMT space trains, validates, extracts and translates, on made-up data."""

from __future__ import annotations

import resource
import sys

import torch

from tests import fairseq_commands as commands

PLUGIN = ["--user-dir", str(commands.ROOT / "fairseq_mos")]


def test_two_updates_of_the_wmt_supernet(tmp_path):
    commands.write_corpus(tmp_path)
    train = [
        *("fairseq-train", "bin", *PLUGIN, "--task", "supernet_translation", "--arch", "mos_transformer_wmt_en_de"),
        *("--routing", "neuron", "--num-experts", "2", "--criterion", "supernet_label_smoothed_cross_entropy"),
        *("--label-smoothing", "0.1", "--dropout", "0.3", "--attention-dropout", "0.1", "--optimizer", "adam"),
        *("--lr", "1e-3", "--lr-scheduler", "cosine", "--warmup-updates", "1", "--max-update", "2"),
        *(
            "--max-tokens",
            "128",
            "--save-dir",
            "checkpoints",
            "--no-epoch-checkpoints",
            "--cpu",
            "--log-format",
            "simple",
        ),
        *("--num-workers", "0", "--no-save-optimizer-state"),
    ]
    generate = ["fairseq-generate", "bin", *PLUGIN, "--path", "subnet/model.pt", "--beam", "2", "--max-len-b", "4"]
    trained = commands.run_steps([train], tmp_path)
    assert "valid on 'valid' subset | loss" in trained.stdout + trained.stderr
    path = "checkpoints/checkpoint_last.pt"
    cli = [sys.executable, "-m", "fairseq_mos.cli", "extract", "--path", path, "--output", "subnet/model.pt"]
    # HAT's smallest TitanXp subnet, and one that attends several encoder layers.
    commands.run([*cli, "--architecture", "hat/wmt14ende_titanxp_57.1ms_bleu_25.8"], tmp_path)
    done = commands.run_steps([[*generate, "--cpu", "--num-workers", "0"]], tmp_path)
    assert sum(line.startswith("H-") for line in done.stdout.splitlines()) == 5
    state = torch.load(tmp_path / "subnet/model.pt", weights_only=True)
    assert state["model"]["encoder.layers.0.fc1.weight"].shape[1] in (512, 640)
    # Kilobytes; of the largest process.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 8 * 2**20
