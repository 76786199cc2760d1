"""Two trainings do not write to one folder."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from fairseq_mos.compat import locking
from fairseq_mos.errors import UserError
from tests.fairseq_commands import TINY, environment, run

HOLD = """
import sys
from fairseq_mos.compat.locking import _hold
_hold(sys.argv[1]); _hold(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path`, until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_training_is_refused(bench, holder, tmp_path):
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(tmp_path)]
    command = [sys.executable, "-m", "fairseq_cli.train", str(bench / "bin"), *TINY, *plugin, "--max-update", "1"]
    (tmp_path / "checkpoint_best.pt.tmp").write_text("left by a kill")
    done = run(command, tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"fairseq-mos: error: --save-dir {tmp_path}: another training is writing there (process {holder.pid}); "
        "wait for its end, end it, or give another --save-dir"
    ]
    assert (tmp_path / "checkpoint_best.pt.tmp").exists(), "it may be the other's"
    run([*command, "--no-save"], tmp_path)
    assert not list(tmp_path.glob("*.pt"))
    holder.kill()
    holder.wait()
    run(command, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == ["checkpoint_best.pt", "checkpoint_last.pt"]


@pytest.mark.parametrize(
    ("code", "refused"), [(errno.EAGAIN, True), (errno.EACCES, True), (errno.ENOLCK, False), (errno.EOPNOTSUPP, False)]
)
def test_file_systems_without_locks_are_tolerated(tmp_path, monkeypatch, code, refused):
    def lockf(file, how):
        raise OSError(code, "no")

    monkeypatch.setattr(locking.fcntl, "lockf", lockf)
    if refused:
        with pytest.raises(UserError, match="another training is writing there; wait"):
            locking._hold(str(tmp_path))
    else:
        locking._hold(str(tmp_path))
    assert str(tmp_path) not in locking._held
