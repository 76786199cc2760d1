"""Whatever ended a training, starting it again does no further update and leaves every file alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fairseq_commands import ROOT, TINY, run, run_steps

LIMITS = {
    "updates": ["--max-update", "5"],
    "updates at an epoch's end": ["--max-update", "7"],
    "epochs": ["--max-epoch", "2"],
    "time": ["--stop-time-hours", "1e-9"],
    "patience": ["--patience", "2", "--lr", "0"],
    "learning rate": ["--stop-min-lr", "1"],
}


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every checkpoint."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("checkpoint*")}


def train(bench: Path, folder: Path, *flags: str) -> list[str]:
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(folder)]
    return ["fairseq-train", str(bench / "bin"), *TINY, *plugin, *flags]


def test_a_finished_training_is_left_alone(bench, tmp_path):
    steps = {name: train(bench, tmp_path / name, *flags) for name, flags in LIMITS.items()}
    run_steps(list(steps.values()), tmp_path)
    before = {name: state(tmp_path / name) for name in steps}
    again = run_steps(list(steps.values()), tmp_path)
    for name, files in before.items():
        assert state(tmp_path / name) == files, name
        assert ("checkpoint_last.pt" in files) == (name != "learning rate")
    for flag in ("--max-update 5", "--max-update 7", "--stop-time-hours 1e-09", "--patience 2"):
        assert again.stdout.count(f"its checkpoint has reached {flag}\n") == 1


def test_a_higher_limit_goes_on(bench, tmp_path):
    steps = [train(bench, tmp_path, "--max-update", "2"), train(bench, tmp_path, "--max-update", "3")]
    done = run_steps([*steps, steps[1]], tmp_path)
    assert done.stdout.count("Stopping training due to num_updates: 3 >= max_update: 3") == 1


def test_weights_of_a_finished_training_are_trained_further(bench, tmp_path):
    start = ["--finetune-from-model", str(tmp_path / "one" / "checkpoint_last.pt")]
    limits = ["--max-update", "2", "--patience", "1", "--stop-time-hours", "1"]
    done = run_steps(
        [train(bench, tmp_path / "one", *limits), train(bench, tmp_path / "two", *limits, *start)], tmp_path
    )
    assert done.stdout.count("Stopping training due to num_updates: 2 >= max_update: 2") == 2


@pytest.mark.parametrize("how", ["module", "hydra"])
def test_every_way_to_start(bench, tmp_path, how):
    """`python -m fairseq_cli.train`, where the function that counts is in `__main__`, and fairseq-hydra-train."""
    if how == "module":
        flags = train(bench, tmp_path / "run", *LIMITS["patience"])[1:]
        command = [sys.executable, "-m", "fairseq_cli.train", *flags]
    else:
        command = [sys.executable, "-m", "fairseq_cli.hydra_train"]
        command += ["--config-dir", str(ROOT / "configs" / "train"), "--config-name", "supernet_tiny"]
        command += [f"task.data={bench / 'bin'}", f"common.user_dir={ROOT / 'fairseq_mos'}", "common.cpu=true"]
        command += ["dataset.max_tokens=80", "optimization.max_update=2", f"checkpoint.save_dir={tmp_path / 'run'}"]
        command += [f"hydra.run.dir={tmp_path / 'hydra'}"]
    run(command, tmp_path)
    before = state(tmp_path / "run")
    assert before
    run(command, tmp_path)
    assert state(tmp_path / "run") == before
