"""Writing files: whole or not at all, and nothing left behind, kills included."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write, check_folder, exclusive, replaced_folder
from tests.fairseq_commands import environment


def _killed(code: str, folder) -> None:
    """Runs code in a process of its own, which kills itself."""
    code = "import os, signal\nfrom fairseq_mos.files import *\n" + code
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment())
    assert done.returncode == -9


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def _names(folder):
    return sorted(os.listdir(folder))


def test_a_file_is_whole_or_untouched(tmp_path):
    target = tmp_path / "a.json"
    with atomic_write(target) as stream:
        stream.write("one")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as stream:
        stream.write("two")
        raise ZeroDivisionError
    assert target.read_text() == "one" and _names(tmp_path) == ["a.json"]


def test_a_full_disk_is_one_line(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("one")
    with pytest.raises(UserError, match="cannot write .*a.json: No space left"), atomic_write(target) as stream:
        os.dup2(os.open("/dev/full", os.O_WRONLY), stream.fileno())
        stream.write("two")
    assert target.read_text() == "one" and _names(tmp_path) == ["a.json"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    _killed(f"with atomic_write('a.json') as stream:\n    stream.write('x'); stream.flush(); {KILL}", tmp_path)
    (tmp_path / ".a.json.mine.tmp").write_text("not of mkstemp")
    assert len(_names(tmp_path)) == 2
    with atomic_write(tmp_path / "b.json") as stream:
        stream.write("b")
    assert len(_names(tmp_path)) == 3, "another file's writer leaves it alone"
    with atomic_write(tmp_path / "a.json") as stream:
        stream.write("a")
    assert _names(tmp_path) == [".a.json.mine.tmp", "a.json", "b.json"]


def test_a_writer_at_work_is_left_alone(tmp_path):
    target = tmp_path / "a.json"
    with atomic_write(target) as first:
        first.write("first")
        with atomic_write(target) as second:
            second.write("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first" and _names(tmp_path) == ["a.json"]


REPLACE = """
import fairseq_mos.files as files
replace, renames = os.replace, []
def counting(a, b):
    if len(renames) == {after}:
        {kill}
    renames.append(a)
    replace(a, b)
os.replace = counting
with replaced_folder('model', ['weights'], kept=['README.md']) as new:
    (new / 'weights').write_text('new')
    (new / 'README.md').write_text('generated')
"""


@pytest.mark.parametrize("after", [0, 1])
def test_a_kill_between_the_renames_loses_nothing(tmp_path, after):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("old")
    (model / "README.md").write_text("edited")
    _killed(REPLACE.format(after=after, kill=KILL), tmp_path)
    with pytest.raises(ZeroDivisionError), replaced_folder(model, ["weights"], kept=["README.md"]):
        raise ZeroDivisionError
    assert (model / "README.md").read_text() == "edited" and (model / "weights").read_text() == "old"
    with replaced_folder(model, ["weights"], kept=["README.md"]) as new:
        (new / "weights").write_text("newer")
    assert (model / "README.md").read_text() == "edited" and (model / "weights").read_text() == "newer"
    assert _names(tmp_path) == ["model"]


def test_foreign_folders_and_impossible_names(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine").write_text("x")
    with pytest.raises(UserError, match="holds mine"), replaced_folder(tmp_path / "model", ["weights"]):
        pass
    for name in ("n" * 300, "a\0b"):
        with pytest.raises(UserError, match="cannot write"), atomic_write(tmp_path / name):
            pass
        with pytest.raises(UserError):
            check_folder(tmp_path / name)
    assert _names(tmp_path) == ["model"]


def test_one_at_a_time(tmp_path):
    target, inside, most = tmp_path / "folder" / "a", [], []

    def work(number):
        with exclusive(target, lambda: None):
            inside.append(number)
            most.append(len(inside))
            threading.Event().wait(0.002)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert most == [1] * 40 and _names(target.parent) == []


def test_who_waits_is_told_once(tmp_path):
    # While it waits for the first file, another process makes and locks a second one.
    path, told, second = tmp_path / ".a.lock", threading.Event(), []
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(first, fcntl.LOCK_EX)

    def next_one():
        told.wait(30)
        path.unlink()
        second.append(os.open(path, os.O_RDWR | os.O_CREAT))
        fcntl.flock(second[0], fcntl.LOCK_EX)
        os.close(first)
        # Not before the waiting one has come to the second file.
        threading.Event().wait(0.05)
        os.close(second[0])

    calls = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next_one)
        with exclusive(tmp_path / "a", lambda: (calls.append(1), told.set())):
            assert calls == [1]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    _killed(f"from pathlib import Path\nwith exclusive(Path('a'), print):\n {KILL}", tmp_path)
    assert _names(tmp_path) == [".a.lock"]
    with exclusive(tmp_path / "a", pytest.fail):
        assert _names(tmp_path) == [".a.lock"]
    assert _names(tmp_path) == []


def test_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive(tmp_path / "a", pytest.fail):
        assert _names(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*a: "), exclusive(tmp_path / "file" / "a", pytest.fail):
        pass
