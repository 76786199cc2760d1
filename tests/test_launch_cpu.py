"""`examples/launch_cpu.sh`: several ranks train as one, and what goes wrong is heard."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.fairseq_commands import ROOT, TINY, environment, run, write_corpus, write_plugin

SCRIPT = ROOT / "examples" / "launch_cpu.sh"


def launch(*words: str, folder: Path, check: bool = False) -> subprocess.CompletedProcess:
    return run(["bash", str(SCRIPT), *words], folder, check)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    write_corpus(folder)
    write_plugin(folder)
    return folder


def train(bench: Path, name: str, *flags: str) -> list[str]:
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(bench / name)]
    return ["fairseq-train", str(bench / "bin"), *TINY, *plugin, *flags]


def parameters(path: Path) -> dict[str, torch.Tensor]:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)["model"]


def test_two_ranks_resumed_train_like_one_process(bench):
    """Two ranks, stopped after an epoch and resumed, match one process with doubled --update-freq."""
    first = launch("2", *train(bench, "two", "--max-epoch", "1"), folder=bench, check=True)
    assert "training on 2 devices" in first.stdout
    assert first.stdout.count("done training in") == 1  # rank 0 alone reports
    second = launch("2", *train(bench, "two", "--max-epoch", "2"), folder=bench, check=True)
    assert "Loaded checkpoint" in second.stdout
    run(train(bench, "one", "--max-epoch", "2", "--update-freq", "2"), bench)
    two, one = (parameters(bench / name / "checkpoint_last.pt") for name in ("two", "one"))
    assert two.keys() == one.keys()
    assert max((two[key] - one[key]).abs().max().item() for key in one) <= 1e-6
    epoch_1 = parameters(bench / "two" / "checkpoint1.pt")
    assert any(not torch.equal(epoch_1[key], one[key]) for key in one)


def test_a_user_error_is_the_first_error_line_and_exit_code_2(bench):
    bad = bench / "bad.pt"
    bad.write_bytes(b"PK\x03\x04 not a checkpoint")
    done = launch("2", *train(bench, "bad", "--restore-file", str(bad)), folder=bench)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    first = next(index for index, line in enumerate(lines) if line.startswith("fairseq-mos: error: "))
    assert "bad.pt" in lines[first]
    assert not any("Traceback" in line or "Error" in line for line in lines[:first])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "expected a number of processes"),
        (["2"], "expected a number of processes"),
        (["0", "true"], "'0'"),
        (["two", "true"], "'two'"),
        (["-1", "true"], "'-1'"),
        (["2", "no-such-command"], "command not found: no-such-command"),
        (["2", "true", "--distributed-port", "1"], "--distributed-port is set by this script"),
    ],
)
def test_bad_arguments_end_in_usage_and_exit_code_2(tmp_path, words, reason):
    done = launch(*words, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ") and reason in done.stderr.splitlines()[-1]


def fake(folder: Path, body: str) -> str:
    """A command in place of fairseq's; `$rank` is the rank it was started as."""
    path = folder / "fake-train"
    find = 'rank=$(printf "%s\\n" "$@" | grep -A1 -x -e --distributed-rank | tail -n 1)\n'
    path.write_text(f"#!/usr/bin/env bash\n{find}{body}\n")
    path.chmod(0o755)
    return str(path)


def test_any_failing_rank_fails_the_launch_and_stops_the_others(tmp_path):
    command = fake(tmp_path, 'echo $$ >> pids; [ "$rank" = 1 ] && exit 7; exec sleep 300')
    done = launch("3", command, folder=tmp_path)
    assert done.returncode == 7
    assert "failed on at least one of 3 processes" in done.stderr
    for pid in (tmp_path / "pids").read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_a_users_mistake_explains_what_the_other_ranks_say(tmp_path):
    command = fake(tmp_path, '[ "$rank" = 0 ] && exit 1; sleep 1; exit 2')
    assert launch("2", command, folder=tmp_path).returncode == 2


def test_flags_threads_and_output(tmp_path):
    command = fake(
        tmp_path,
        'echo "$rank $OMP_NUM_THREADS $@"; echo "x | ERROR | rank $rank" ; echo "warn $rank" >&2; exit $rank',
    )
    done = launch("2", command, "DATA", "--ddp-backend", "no_c10d", folder=tmp_path)
    assert done.returncode == 1
    words = done.stdout.splitlines()[0].split()
    assert words[:3] == ["0", "1", "DATA"]  # OMP_NUM_THREADS as it was set outside
    assert words.count("--ddp-backend") == 1 and "--cpu" in words and "--distributed-no-spawn" in words
    assert "1 1 DATA" not in done.stdout
    assert {"warn 0", "warn 1", "rank 1: x | ERROR | rank 1"} <= set(done.stderr.splitlines())


def test_threads_are_shared_among_the_ranks(tmp_path):
    command = fake(tmp_path, 'echo "threads $OMP_NUM_THREADS"')
    clean = {key: value for key, value in environment().items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        ["bash", str(SCRIPT), "2", command], env=clean, capture_output=True, text=True, timeout=60
    )
    cores = len(os.sched_getaffinity(0))
    assert done.stdout.split() == ["threads", str(max(1, cores // 2))]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_ranks_end_with_a_killed_launch(tmp_path):
    command = fake(tmp_path, 'echo $$ >> pids; exec sleep 300')
    process = subprocess.Popen(["bash", str(SCRIPT), "2", command], cwd=tmp_path, env=environment())
    pids = tmp_path / "pids"
    while not pids.exists() or len(pids.read_text().split()) < 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    for pid in pids.read_text().split():
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline, f"rank {pid} still runs"
            time.sleep(0.05)
