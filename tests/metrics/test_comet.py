"""The exchange with COMET's interpreter, whatever it answers; test_neural.py has the real thing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairseq_mos.errors import UserError, one_line
from fairseq_mos.metrics import neural
from fairseq_mos.metrics.neural import check_comet, comet_scores
from tests.fairseq_commands import environment

SYSTEMS = {"copy": ["a", "b"], "other": ["a", "x"]}

FAKE_COMET = """
print("downloading", "x" * 100)
class Output:
    def __init__(self, score): self.system_score = score
class Model:
    def predict(self, samples, batch_size, gpus, num_workers, progress_bar):
        return Output(sum(s["mt"] == s["ref"] for s in samples) / len(samples) + len(samples[0]["src"]) / 1000)
def load_from_checkpoint(path):
    assert open(path).read() == "weights"
    return Model()
def download_model(name):
    raise SystemExit("no such model: " + name)
"""


def _program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def _ask(python: str, model: str = "m", **options):
    return comet_scores(["one", "two"], SYSTEMS, ["a", "b"], model, python, **options)


def test_another_environment(tmp_path):
    package = tmp_path / "site" / "comet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_COMET)
    (tmp_path / "site" / "unbabel_comet-9.9.dist-info").mkdir()
    (tmp_path / "site" / "unbabel_comet-9.9.dist-info" / "METADATA").write_text("Name: unbabel-comet\nVersion: 9.9\n")
    run = f'[ "$1" = -I ] || exit 9\nshift\nPYTHONPATH={tmp_path}/site exec {sys.executable} "$@"\n'
    python = _program(tmp_path / "python", f"#!/bin/sh\n{run}")
    weights = tmp_path / "model" / "checkpoints" / "model.ckpt"
    weights.parent.mkdir(parents=True)
    weights.write_text("weights")
    model = str(tmp_path / "model")
    check_comet(model, python)
    found = _ask(python, model)
    assert {name: score.score for name, score in found.items()} == pytest.approx({"copy": 1.003, "other": 0.503})
    assert found["copy"].signature == f"model:{model}|comet:9.9"
    with pytest.raises(UserError, match="no such model: Unbabel/none"):
        _ask(python, "Unbabel/none")
    weights.rename(weights.with_name("other"))
    for ask in (check_comet, lambda model, python: _ask(python, model)):
        with pytest.raises(UserError, match="holds no checkpoints/model.ckpt"):
            ask(model, python)


GOOD = '{"version": "2", "scores": {"copy": 1, "other": 0.5}}'


def _answer(text: str) -> str:
    return f"printf '%s' '{text}' > \"$4\""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "has ended without an answer"),
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "exit code -9"),
        ("echo one >&2; echo two >&2; exit 1", "two"),
        ("printf 'broken \\377\\033[31m' >&2; exit 1", "broken \ufffd\\x1b[31m"),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1", "last"),
        ("mkdir \"$4\"", "has ended without an answer"),
        (_answer(""), "its answer: malformed JSON"),
        (_answer("nonsense"), "its answer: malformed JSON"),
        (_answer("[1]"), "its answer: expected"),
        (_answer('{"version": "2"}'), "its answer: object missing required field scores"),
        (_answer('{"version": 2, "scores": {}}'), "its answer: version: expected str, got int"),
        (_answer('{"version": "2", "scores": {"copy": 1}}'), "its answer is for other systems than copy, other"),
        (_answer(GOOD.replace("0.5", '"0.5"')), "its answer: scores"),
        (_answer(GOOD.replace("0.5", "NaN")), "its answer: malformed JSON: NaN is no number"),
        (_answer(GOOD.replace("0.5", "1e99")), "its answer for other is 1e+99, allowed: -1000 to 1000"),
        (_answer(GOOD.replace("0.5", "9" * 400)), "a number with 400 digits"),
        (_answer("[" * 100_000), "nested too deeply"),
        ("head -c 3000000 /dev/zero > \"$4\"", "cannot read the answer: it is larger than"),
    ],
)  # fmt: skip
def test_bad_answers_are_one_line(tmp_path, script, message):
    with pytest.raises(UserError) as raised:
        _ask(_program(tmp_path / "python", f"#!/bin/sh\n{script}\n"))
    assert message in one_line(raised.value) and len(one_line(raised.value)) < 500


def test_what_it_prints_before_its_answer_is_of_no_interest(tmp_path):
    noise = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo '{}'\n"
    found = _ask(_program(tmp_path / "python", f"#!/bin/sh\n{noise}{_answer(GOOD)}\n"))
    assert {name: score.score for name, score in found.items()} == {"copy": 1, "other": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "batch_size is 0"), ({"gpus": -1}, "gpus is -1"), ({"minutes": 0}, "--comet-minutes is 0")],
)
def test_arguments_have_ranges(options, message):
    with pytest.raises(UserError, match=message):
        _ask("nowhere", **options)


@pytest.mark.parametrize("place", ["nowhere", "folder", "text", "a\0b"])
def test_no_program(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").touch()
    for ask in (_ask, lambda python: check_comet("m", python)):
        with pytest.raises(UserError, match="--comet-python .*: (No such file|Permission denied|embedded null)"):
            ask(str(tmp_path / place))


def _gone(pid: int) -> bool:
    """Whether a process has ended, or does so within ten seconds."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    python = _program(tmp_path / "python", f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nwait\n")
    with pytest.raises(UserError, match=r"COMET \(m\): no answer after 0.01 minutes \(--comet-minutes\)"):
        _ask(python, minutes=0.01)
    assert _gone(int((tmp_path / "pid").read_text()))
    monkeypatch.setattr(neural, "_CHECK_MINUTES", 0.01)
    with pytest.raises(UserError, match="no answer after 0.01 minutes"):
        check_comet("m", python)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_the_script_ends_with_the_command(tmp_path):
    """kill -9 of the command: nobody would read what the other interpreter computes."""
    package = tmp_path / "site" / "comet"
    package.mkdir(parents=True)
    wait = f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    (package / "__init__.py").write_text(wait)
    run = f'shift\nPYTHONPATH={tmp_path}/site exec {sys.executable} "$@"\n'
    python = _program(tmp_path / "python", f"#!/bin/sh\n{run}")
    ask = f"comet_scores(['a'], {{'x': ['a']}}, ['a'], 'm', {python!r})"
    code = f"from fairseq_mos.metrics.neural import comet_scores\n{ask}"
    command = subprocess.Popen([sys.executable, "-c", code], env=environment())
    try:
        for _ in range(600):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
            time.sleep(0.05)
        child = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{child}").exists()
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
    assert _gone(child)
