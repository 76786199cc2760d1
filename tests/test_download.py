"""Downloads from a server of this machine: whole, broken off, continued, wrong, silent."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_mos import download
from fairseq_mos.download import download as fetch
from fairseq_mos.errors import UserError
from tests.file_server import CONTENT, serve


@pytest.fixture
def server():
    with serve() as instance:
        yield instance


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_once_only(server, tmp_path):
    target = tmp_path / "folder" / "file.bin"
    digest = hashlib.sha256(CONTENT).hexdigest()
    for expected in (digest, digest.upper()):
        assert fetch(server.url, target, expected, progress=False).read_bytes() == CONTENT
    assert server.asked == [None] and names(target.parent) == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False], ids=["server continues", "server starts anew"])
def test_a_broken_download_is_continued(server, tmp_path, ranges):
    server.ranges, server.cut_at = ranges, [3000]
    target = tmp_path / "file.bin"
    with pytest.raises(UserError, match=r"3000 of 10240 bytes; the same command continues it"):
        fetch(server.url, target, progress=False)
    assert not target.exists() and (tmp_path / "file.bin.part").stat().st_size == 3000
    assert fetch(server.url, target, progress=False).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"] and names(tmp_path) == ["file.bin"]


def test_a_part_that_holds_everything(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_a_part_that_is_too_long(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_a_part_is_continued_where_it_ends_or_not_at_all(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:3000])
    server.shift = 8
    with pytest.raises(UserError, match="the server continued at another place than asked; try again"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == []
    server.shift = 0
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_another_content_than_published(server, tmp_path):
    with pytest.raises(UserError, match="SHA-256 is not 00; it was moved to .*file.bin.bad"):
        fetch(server.url, tmp_path / "file.bin", "00", progress=False)
    assert names(tmp_path) == ["file.bin.bad"]
    fetch(server.url, tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == ["file.bin"]


def test_no_such_file_and_no_network(server, tmp_path):
    with pytest.raises(UserError, match="the server says 404 Not Found"):
        fetch(server.url + "x", tmp_path / "file.bin", progress=False)
    with pytest.raises(UserError, match="cannot download http://127.0.0.1:9/x: .*check the address and the network"):
        fetch("http://127.0.0.1:9/x", tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == []


def test_an_answer_in_chunks_that_is_cut_off(server, tmp_path):
    server.chunked = True
    with pytest.raises(UserError, match=r"cannot download http.*IncompleteRead.*the same command continues it"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert not (tmp_path / "file.bin").exists()
    server.chunked = False
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("now", ['"old"', '"new"'], ids=["the same file", "another one by now"])
def test_what_is_continued_is_the_same_version(server, tmp_path, now):
    """Otherwise the halves of two versions would make one file."""
    server.headers, server.cut_at = {"ETag": '"old"'}, [3000]
    target = tmp_path / "file.bin"
    with pytest.raises(UserError, match="the same command continues it"):
        fetch(server.url, target, progress=False)
    content = CONTENT if now == '"old"' else CONTENT[::-1]
    server.headers, server.files["/file.bin"] = {"ETag": now}, content
    assert fetch(server.url, target, progress=False).read_bytes() == content
    assert server.asked == [None, "bytes=3000-"] and names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("version", [b'"a\nb"', b"\xff", '"é"'.encode()], ids=["two lines", "no text", "not ASCII"])
def test_a_version_that_cannot_be_sent_is_not_sent(server, tmp_path, version):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:3000])
    (tmp_path / "file.bin.part.version").write_bytes(version)
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_nothing_to_continue_is_not_promised(tmp_path):
    with pytest.raises(UserError) as error:
        fetch((tmp_path / "absent.pt").as_uri(), tmp_path / "file.pt", progress=False)
    assert "continues" not in str(error.value) and "no such file" in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1/a b", "it has white space or control characters"),
        ("http://127.0.0.1/a\nb", "it has white space or control characters"),
        ("http://127.0.0.1/a\0b", "it has white space or control characters"),
        ("http://127.0.0.1/a\ud800", "it has white space or control characters"),
        ("http://[::1/x.pt", "Invalid IPv6 URL"),
        ("http://[fe80::1%25/x.pt", "Invalid IPv6 URL"),
        ("http:///x.pt", "it names no host"),
        ("http://:80/x.pt", "it names no host"),
        ("http://host:port/x.pt", "Port could not be cast"),
        ("http://host:99999/x.pt", "Port out of range"),
        ("http://host:-1/x.pt", "Port"),
        ("http://" + "a" * 100 + "/x.pt", "label"),
        ("http://a..b/x.pt", "label"),
        ("http://user:secret@host/x.pt", "cannot download from host: user names and passwords"),
        ("gopher://host/x.pt", "it does not begin with http://, https://, ftp://, file://"),
        ("data://x,y", "it does not begin with"),
        ("://x", "it does not begin with"),
        ("", "it does not begin with"),
        ("http://host/" + "a" * 10_000, "it has 10,012 characters, allowed: 2,000"),
        ("file://host/x.pt", "it names a host"),
        (3, "expected a URL"),
        (None, "expected a URL"),
    ],
)  # fmt: skip
def test_no_url(tmp_path, url, message):
    with pytest.raises(UserError, match=message) as error:
        fetch(url, tmp_path / "file.bin", progress=False)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500 and "secret" not in str(error.value)
    assert names(tmp_path) == []


@given(st.one_of(st.text(max_size=40), st.text("ah:/@[]%.?#é中0\\ ", max_size=20).map(lambda end: f"http://{end}")))
def test_a_text_is_a_url_or_refused_in_one_line(text):
    try:
        url = download.request_url(text)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert url.isascii() and urllib.parse.urlsplit(url).scheme in download._SCHEMES


def test_what_is_not_ascii_is_escaped(server, tmp_path):
    assert download.request_url("http://bücher.example:80/a/é.pt?x=ü") == (
        "http://xn--bcher-kva.example:80/a/%C3%A9.pt?x=%C3%BC"
    )
    server.files["/%C3%A9.bin"] = CONTENT
    url = server.url.replace("file.bin", "é.bin")
    assert fetch(url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("location", ["http://[::1/x", "file:///etc/hosts", "http://a..b/", "http://127.0.0.1:99999/"])
def test_a_server_that_sends_on_to_nowhere(server, tmp_path, location):
    server.location = location
    with pytest.raises(UserError, match="^(cannot download )?http://127"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("silent_after", [0, 3000], ids=["from the beginning", "in the middle"])
def test_a_host_that_falls_silent(server, tmp_path, monkeypatch, silent_after):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.silent_after = silent_after
    with pytest.raises(UserError, match="no answer for 0.2 seconds; the same command continues it"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    # What has come is not lost.
    assert (tmp_path / "file.bin.part").stat().st_size == silent_after
    server.awake.set()
    server.silent_after = None
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_a_host_that_never_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/file.bin"
        with pytest.raises(UserError, match="no answer for 0.2 seconds; check the address and the network"):
            fetch(url, tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", ["x", "-5", "1" * 5000, ""])
def test_a_length_that_is_none_says_nothing(server, tmp_path, length):
    server.headers = {"Content-Length": length}
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_files_without_limit(server, tmp_path, monkeypatch):
    free = namedtuple("Usage", "free")(10_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: free)
        with pytest.raises(UserError, match="10,240 bytes are needed, 10,000 are free on the disk"):
            fetch(server.url, tmp_path / "file.bin", progress=False)
    server.headers = {"Content-Length": str(10**15)}
    with pytest.raises(UserError, match="it has 1,000,000,000,000,000 bytes, allowed: 137,438,953,472"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    server.headers = {"Content-Length": "unknown"}
    monkeypatch.setattr(download, "MAX_BYTES", 5000)
    with pytest.raises(UserError, match="it has more than 5,000 bytes"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.bin").mkdir()
    (tmp_path / "taken.bin.part").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    for name in ("file/file.bin", "folder.bin", "taken.bin", "n" * 300, "pipe.bin"):
        with pytest.raises(UserError, match="^cannot (write|read) ") as error:
            fetch(server.url, tmp_path / name, progress=False)
        assert "\n" not in str(error.value)
    assert names(tmp_path) == ["file", "folder.bin", "pipe.bin", "taken.bin.part"]
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot write .*Permission denied"):
            fetch(server.url, tmp_path / "closed" / "file.bin", progress=False)


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(UserError, match="it is no file"):
            fetch(f"file://{path}", tmp_path / "file.bin", progress=False)
    with pytest.raises(UserError, match="cannot read .*too long"):
        fetch(f"file:///{'n' * 300}", tmp_path / "file.bin", progress=False)
    with pytest.raises(UserError, match="cannot read .*null"):
        fetch("file:///a%00b", tmp_path / "file.bin", progress=False)
    assert names(tmp_path) == ["pipe"]


def test_one_downloads_and_the_others_wait(server, tmp_path, caplog, monkeypatch):
    """All begin before the first answer has come."""
    waiting = threading.Barrier(3)
    server.pause = lambda: waiting.wait(10)
    original = download.logger.warning
    monkeypatch.setattr(download.logger, "warning", lambda *texts: (original(*texts), waiting.wait(10)))
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(fetch, server.url, tmp_path / "file.bin", progress=False) for _ in range(3)]
        assert [call.result().read_bytes() for call in calls] == [CONTENT] * 3
    assert server.asked == [None] and names(tmp_path) == ["file.bin"]
    assert "waiting for another process that downloads http://127" in caplog.text


def test_a_killed_download_is_in_nobodys_way(server, tmp_path):
    server.silent_after = 3000
    # The name spares it the import of fairseq.
    code = (
        "import sys; sys.argv[0] = 'fairseq-mos'; from fairseq_mos.download import download; "
        "download(*sys.argv[1:], progress=False)"
    )
    victim = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path / "file.bin")])
    while not (tmp_path / "file.bin.part").exists() and victim.poll() is None:
        server.awake.wait(0.05)
    assert ".file.bin.lock" in names(tmp_path)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    server.silent_after = None
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]
