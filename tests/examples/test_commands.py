"""What the examples' pipeline starts ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from pipeline import work  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402
from pipeline.work import Work  # noqa: E402

KILLED = """
import sys
from pathlib import Path
from pipeline.commands import run
from pipeline.work import Work
folder = Path(sys.argv[1])
work = Work(folder, 1)
run(str(folder / "command.py"), ["x"], work.log("x"), 1, print, held=[work.lock.fileno()])
"""
COMMAND = """
import multiprocessing, os, sys, time
import beside  # of this file's folder
if __name__ == "__main__":
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.2,))
    worker.start()
    print(os.getpid(), sys.argv[1:], sys.stdin.read() == "", "pipeline" in sys.modules, flush=True)
    time.sleep(60)
"""


def test_a_command_ends_with_a_killed_run_which_holds_the_folder_until_then(tmp_path, monkeypatch):
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "beside.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "examples")}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    child, *said = process.stdout.readline().split(maxsplit=1)
    assert said == ["['x'] True False\n"]
    os.kill(int(child), signal.SIGSTOP)  # an orphan that takes its time
    process.kill()
    process.communicate()
    monkeypatch.setattr(work, "_PATIENCE", 0)
    with pytest.raises(PipelineError, match="another run uses"):
        Work(tmp_path, 1)
    monkeypatch.setattr(work, "_PATIENCE", 20)
    os.kill(int(child), signal.SIGCONT)
    Work(tmp_path, 1).lock.close()
