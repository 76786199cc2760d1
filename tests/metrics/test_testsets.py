"""Test sets: which files are read, and one line for those that cannot be."""

from __future__ import annotations

import http.client
import os
import re
import socket
import sys
import tarfile
import threading
import zlib

import pytest
from sacrebleu import utils

from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.metrics import testsets
from fairseq_mos.metrics.testsets import load_test_set, read_lines
from tests.fairseq_commands import run


def test_a_lone_carriage_return_is_part_of_a_sentence(tmp_path):
    (tmp_path / "text").write_bytes("a\rb\r\nc\u2028d\n".encode())
    assert read_lines(tmp_path / "text") == ["a\rb", "c\u2028d"]
    (tmp_path / "text").write_bytes(b"\n")
    assert read_lines(tmp_path / "text") == [""]


def test_files_that_stand_before_a_published_test_set_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for language in ("en", "de"):
        (tmp_path / f"wmt14.{language}").write_text("a\n")
    assert load_test_set("wmt14", "en", "de").sources == ["a"]
    assert capsys.readouterr().out == "test set wmt14: the files wmt14.en and .de, not sacreBLEU's set of that name\n"


def _closed(path):
    path.mkdir()
    path.chmod(0)


BAD = {
    "a folder": (lambda path: path.mkdir(), "it is no file of text"),
    "a FIFO": (os.mkfifo, "it is no file of text"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is no file of text"),
    "a loop of links": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "not a UTF-8 text file"),
    "Latin 1": (lambda path: path.write_bytes("stra\u00dfe\n".encode("latin-1")), "not a UTF-8 text file"),
    "half a surrogate pair": (lambda path: path.write_bytes(b"a\xed\xa0\x80\n"), "not a UTF-8 text file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "absent": (lambda path: None, "No such file or directory"),
    "not readable": (lambda path: path.touch(0), "Permission denied"),
    "shorter": (lambda path: path.write_text("a\n"), "lines"),
}


@pytest.mark.parametrize("kind", list(BAD))
@pytest.mark.parametrize("role", ["source", "reference", "hypotheses"])
def test_bad_files_are_one_line(tmp_path, capsys, kind, role):
    make, message = BAD[kind]
    if kind == "not readable" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    places = {"source": "set.en", "reference": "set.de", "hypotheses": "given.txt"}
    for name, place in places.items():
        if name != role:
            (tmp_path / place).write_text("a\nb\n")
    make(tmp_path / places[role])
    command = ["evaluate", "--test-set", str(tmp_path / "set"), "--output", str(tmp_path / "out"), "--bootstrap", "0"]
    command += ["--hypotheses", str(tmp_path / "given.txt"), "--source-lang", "en", "--target-lang", "de"]
    assert main(command) == 2
    err = capsys.readouterr().err
    if kind == "shorter" and role == "hypotheses":
        message = "given has 1 translations, test set set has 2 references"
    else:
        assert str(tmp_path / places[role]) in err
    assert err.startswith("fairseq-mos: error: ") and message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "y" * 5000, "closed/set"])
def test_places_that_cannot_be_looked_at(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    _closed(tmp_path / "closed")
    with pytest.raises(UserError, match="name too long|Permission denied|knows no such set"):
        load_test_set(name, "en", "de")


def test_languages_with_countries(tmp_path, monkeypatch, capsys):
    for language in ("en", "zh-CN"):
        (tmp_path / f"set.{language}").write_text(f"{language}\n")
    found = load_test_set(str(tmp_path / "set"), "en", "zh-CN")
    assert (found.sources, found.references) == (["en"], [["zh-CN"]])
    with pytest.raises(UserError, match="no files wmt99.en and wmt99.zh-CN, and sacreBLEU knows no such set"):
        load_test_set("wmt99", "en", "zh-CN")
    asked = []
    monkeypatch.setattr(utils, "get_source_file", lambda *given: asked.append(given) or str(tmp_path / "set.en"))
    monkeypatch.setattr(utils, "get_reference_files", lambda *given: [str(tmp_path / "set.zh-CN")])
    assert load_test_set("wmt20", "en", "zh-CN").references == [["zh-CN"]] and asked == [("wmt20", "en-zh")]
    assert capsys.readouterr().out == "test set wmt20: its pair en-zh for en-zh-CN\n"
    with pytest.raises(UserError, match="test set wmt20 has no pair en-xx-YY, only cs-en, "):
        load_test_set("wmt20", "en", "xx-YY")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no route\nto host"), r"\(no route to host\): check"),
        (SystemExit(1), r"\(it is damaged\)"),
        (tarfile.ReadError("not a gzip file"), "not a gzip file"),
        (http.client.IncompleteRead(b"x"), "IncompleteRead"),
        (zlib.error("incorrect header"), "incorrect header"),
        (EOFError(), "EOFError"),
        (KeyError("newstest.sgm"), "newstest.sgm"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "invalid start byte"),
    ],
)
def test_whatever_a_download_fails_of(monkeypatch, error, reason):
    def fail(*_):
        raise error

    monkeypatch.setattr(utils, "get_source_file", fail)
    with pytest.raises(UserError, match=f"test set wmt14 cannot be downloaded .*{reason}"):
        load_test_set("wmt14", "en", "de")


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: _accept(server), daemon=True).start()
        data_set = utils.DATASETS["wmt14"]
        monkeypatch.setattr(data_set, "data", [f"http://127.0.0.1:{server.getsockname()[1]}/x.tgz"])
        monkeypatch.setattr(data_set, "_outdir", str(tmp_path))
        monkeypatch.setattr(data_set, "_rawdir", str(tmp_path / "raw"))
        monkeypatch.setattr(testsets, "_PATIENCE", 0.2)
        with pytest.raises(UserError, match="test set wmt14 cannot be downloaded .*timed out"):
            load_test_set("wmt14", "en", "de")
    assert socket.getdefaulttimeout() is None


def _accept(server):
    held = []
    while True:
        try:
            held.append(server.accept())
        except OSError:
            return


def test_no_network_for_a_published_test_set(tmp_path):
    (tmp_path / "given.txt").write_text("a\n")
    command = [sys.executable, "-m", "fairseq_mos.cli", "evaluate", "--hypotheses", "given.txt"]
    command += ["--source-lang", "en", "--target-lang", "de", "--test-set", "wmt14", "--output", "out"]
    proxy = "http://127.0.0.1:9"
    done = run(
        command, tmp_path, check=False, SACREBLEU=str(tmp_path / "cache"), http_proxy=proxy, https_proxy=proxy
    )
    assert done.returncode == 2
    assert re.fullmatch(r"fairseq-mos: error: test set wmt14 cannot be downloaded .*\n", done.stderr)
