"""Kept translations: made once, and anew where what is there is anything else."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.translating import Decoding

NAME = "one.test"
MADE, KEPT = "12 sentences in", "translated before"


@pytest.fixture
def one(small):
    return ["--path", small.folder / "one/subnet.pt", "--metrics", "chrf"]


def _content(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _edit(file, change) -> None:
    file.write_bytes(change(file.read_bytes()))


DAMAGE = {
    "an edited line": (".txt", lambda text: text.replace(b"\n", b" und\n", 1)),
    "a missing line": (".txt", lambda text: text.split(b"\n", 1)[1]),
    "a cut line": (".txt", lambda text: text[:-2]),
    "no text": (".txt", lambda text: b"\xff" + text),
    "empty": (".txt", lambda text: b""),
    "cut": (".json", lambda text: text[:-9]),
    "deep": (".json", lambda text: b"[" * 5000),
    "a long number": (".json", lambda text: b'{"weights": ' + b"9" * 5000 + b"}"),
    "a list": (".json", lambda text: b"[]"),
    "of another model": (".json", lambda text: text.replace(b'"weights": "', b'"weights": "0')),
    "of an older version": (".json", lambda text: json.dumps(dict(list(json.loads(text).items())[:-1])).encode()),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_what_is_damaged_is_translated_anew(evaluate, one, tmp_path, kind):
    ending, change = DAMAGE[kind]
    assert MADE in evaluate(*one)[1]
    whole = _content(tmp_path / "out")
    file = tmp_path / "out" / "translations" / f"{NAME}{ending}"
    before = file.read_bytes()
    _edit(file, change)
    assert file.read_bytes() != before
    code, out, _ = evaluate(*one)
    assert code == 0 and MADE in out and _content(tmp_path / "out") == whole
    assert KEPT in evaluate(*one)[1]


@pytest.mark.parametrize("ending", [".txt", ".json"])
@pytest.mark.parametrize("kind", ["FIFO", "dangling link", "loop"])
def test_what_is_no_file_is_replaced(evaluate, one, tmp_path, ending, kind):
    file = tmp_path / "out" / "translations" / f"{NAME}{ending}"
    file.parent.mkdir(parents=True)
    os.mkfifo(file) if kind == "FIFO" else file.symlink_to("nowhere" if kind == "dangling link" else file.name)
    code, out, err = evaluate(*one)
    assert (code, err.count("\n")) in ((0, 0), (2, 1)), err
    assert code == 0 or "Too many levels" in err


@pytest.mark.parametrize("name", [f"translations/{NAME}.txt", f"translations/{NAME}.json", "scores.csv",
                                  "translations/test.source.txt"])  # fmt: skip
def test_a_folder_in_the_place_of_a_file_is_found_first(evaluate, one, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    code, out, err = evaluate(*one)
    assert code == 2 and f"cannot write {tmp_path / 'out' / name}: it is a folder" in err and MADE not in out


class _Killed(BaseException):
    """Ends the command like SIGKILL: with `os.unlink` gone too, nothing is cleaned up."""


def test_a_killed_evaluation_is_made_whole_by_the_same_command(evaluate, one, tmp_path, monkeypatch):
    out = str(tmp_path / "out")
    assert evaluate(*one)[0] == 0
    whole = _content(tmp_path / "out")
    assert len(whole) == 7  # translations with .json, source, reference, three tables
    for file in (0, 1, 4):  # translations, their .json, the first table
        shutil.rmtree(tmp_path / "out")
        replaced = []

        def replace(*names, original=os.replace, allowed=file, done=replaced):
            if str(names[1]).startswith(out):
                if len(done) == allowed:
                    raise _Killed
                done.append(names)
            original(*names)

        def unlink(name, *given, original=os.unlink, **options):
            if str(name).startswith(out):
                raise _Killed
            original(name, *given, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            patched.setattr(os, "unlink", unlink)
            with pytest.raises(_Killed):
                evaluate(*one)
        assert any(name.endswith(".tmp") for name in _content(tmp_path / "out"))
        assert evaluate(*one)[0] == 0
        assert _content(tmp_path / "out") == whole


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_one_line_and_leaves_nothing(evaluate, one, tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        code, _, err = evaluate(*one)
    file = tmp_path / "out" / "translations" / f"{NAME}.txt"
    said = f"fairseq-mos: error: cannot write {file}: {os.strerror(number)}\n"
    assert code == 2 and err.endswith(said) and err.count("\n") == 1  # the other characters are the bar's
    assert _content(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "--beam is 0, allowed: 1 to"),
        ({"beam": 10**12}, "--beam is 1000000000000"),
        ({"beam": 2.5}, "--beam is 2.5"),
        ({"lenpen": float("nan")}, "--lenpen is nan"),
        ({"lenpen": 1e300}, "--lenpen is 1e\\+300"),
        ({"max_tokens": 0}, "--max-tokens is 0"),
        ({"max_tokens": True}, "--max-tokens is True"),
    ],
)
def test_options_have_ranges(options, message):
    with pytest.raises(UserError, match=message):
        Decoding(**options)
