"""A checkpoint that cannot be written is one line, and the last whole one stays."""

from __future__ import annotations

import sys

import pytest

from tests.fairseq_commands import TINY, run

LIMITED = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
runpy.run_module("fairseq_cli.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("kept", [0.02, 0.97])
def test_a_disk_that_is_full(bench, tmp_path, kept):
    """A limit on the size of files stands for the end of a disk."""
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(tmp_path / "model")]
    train = [str(bench / "bin"), *TINY, *plugin, "--save-interval-updates", "1", "--max-update"]
    run([sys.executable, "-m", "fairseq_cli.train", *train, "1"], tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").glob("checkpoint*")}
    limit = str(int(len(before["checkpoint_last.pt"]) * kept))
    done = run([sys.executable, "-c", LIMITED, limit, *train, "3"], tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"fairseq-mos: error: cannot write checkpoint {tmp_path}/model/checkpoint_1_2.pt: File too large; "
        "the last whole ones stay"
    ]
    assert "Traceback" not in done.stdout
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").glob("checkpoint*")} == before
    run([sys.executable, "-m", "fairseq_cli.train", *train, "2"], tmp_path)
    assert (tmp_path / "model" / "checkpoint_1_2.pt").exists()
