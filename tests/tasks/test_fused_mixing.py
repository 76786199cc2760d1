"""--fused-mixing through fairseq-train: kernels that a compiler made train as the plain ones do."""

from __future__ import annotations

import shutil

import pytest

from tests import fairseq_commands as commands
from tests.supernet_commands import TRAIN, difference, workspace


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
def test_it_trains_alike(tmp_path):
    workspace(tmp_path)
    # Where gradients are zero but for rounding, Adam would make steps of the rounding.
    train = [*TRAIN, "--routing", "neuron", "--modulation", "norms", "--adam-eps", "1e-3", "--max-update", "3"]
    train = [*train, "--disable-validation", "--save-dir"]
    commands.run_steps([[*train, "plain"], [*train, "fused", "--fused-mixing"]], tmp_path)
    # Rounded otherwise, so the kernels were there; three steps change weights by more than 0.01.
    assert 0 < difference(tmp_path / "plain/checkpoint_last.pt", tmp_path / "fused/checkpoint_last.pt") < 1e-5
