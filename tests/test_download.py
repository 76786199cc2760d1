"""Downloads from a server of this machine: whole, broken off, continued, wrong."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fairseq_mos import download
from fairseq_mos.download import download as fetch
from fairseq_mos.errors import UserError

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; what it does otherwise is set on the server."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if self.path != "/file.bin":
            self.send_error(404, "Not Found")
            return
        begin = 0
        tag = self.headers.get("If-Range")
        if server.ranges and self.headers.get("Range") and tag in (None, server.tag):
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if begin >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return
        if server.chunked:
            # A chunk of 4096 bytes of which half comes; no length that would tell.
            self.protocol_version = "HTTP/1.1"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1000\r\n" + CONTENT[:2048])
            self.close_connection = True
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        end = server.cut_at.pop(0) if server.cut_at else len(CONTENT)
        content = CONTENT if server.tag != '"new"' else CONTENT[::-1]
        self.wfile.write(content[begin:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    instance = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    instance.ranges, instance.cut_at, instance.asked, instance.chunked = True, [], [], False
    instance.tag = None
    instance.url = f"http://127.0.0.1:{instance.server_port}/file.bin"
    thread = threading.Thread(target=instance.serve_forever)
    thread.start()
    yield instance
    instance.shutdown()
    thread.join()
    instance.server_close()


def test_once_only(server, tmp_path):
    target = tmp_path / "folder" / "file.bin"
    digest = hashlib.sha256(CONTENT).hexdigest()
    for _ in range(2):
        assert fetch(server.url, target, digest, progress=False).read_bytes() == CONTENT
    assert server.asked == [None] and [path.name for path in target.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False], ids=["server continues", "server starts anew"])
def test_a_broken_download_is_continued(server, tmp_path, ranges):
    server.ranges, server.cut_at = ranges, [3000]
    target = tmp_path / "file.bin"
    with pytest.raises(UserError, match=r"3000 of 10240 bytes; the same command continues it"):
        fetch(server.url, target, progress=False)
    assert not target.exists() and (tmp_path / "file.bin.part").stat().st_size == 3000
    assert fetch(server.url, target, progress=False).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"]


def test_a_part_that_holds_everything(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_a_part_that_is_too_long(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_another_content_than_published(server, tmp_path):
    with pytest.raises(UserError, match="SHA-256 is not 00; it was moved to .*file.bin.bad"):
        fetch(server.url, tmp_path / "file.bin", "00", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin.bad"]


def test_no_such_file_and_no_network(server, tmp_path):
    with pytest.raises(UserError, match="the server says 404 Not Found"):
        fetch(server.url + "x", tmp_path / "file.bin", progress=False)
    with pytest.raises(UserError, match="cannot download http://127.0.0.1:9/x: .*check the address and the network"):
        fetch("http://127.0.0.1:9/x", tmp_path / "file.bin", progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        fetch(server.url, tmp_path / "file" / "file.bin", progress=False)


def test_an_answer_in_chunks_that_is_cut_off(server, tmp_path):
    server.chunked = True
    with pytest.raises(UserError, match=r"cannot download http.*IncompleteRead.*the same command continues it"):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert not (tmp_path / "file.bin").exists()
    server.chunked = False
    assert fetch(server.url, tmp_path / "file.bin", progress=False).read_bytes() == CONTENT


def test_no_url_at_all(tmp_path):
    with pytest.raises(UserError, match="cannot download http://127.0.0.1/a b: URL can't contain control characters"):
        fetch("http://127.0.0.1/a b", tmp_path / "file.bin", progress=False)


def test_archives(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("inner/model.pt", "weights")
    found = download.fetch_model((tmp_path / "one.zip").as_uri(), progress=False)
    assert found.endswith("inner/model.pt") and Path(found).read_text() == "weights"
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(UserError, match="holds neither arch.json nor a .pt file"):
        download.fetch_model((tmp_path / "two.zip").as_uri(), progress=False)
    (tmp_path / "three.zip").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="cannot unpack"):
        download.fetch_model((tmp_path / "three.zip").as_uri(), progress=False)


@pytest.mark.parametrize("now", ['"old"', '"new"'], ids=["the same file", "another one by now"])
def test_what_is_continued_is_the_same_version(server, tmp_path, now):
    """Otherwise the halves of two versions would make one file."""
    server.tag, server.cut_at = '"old"', [3000]
    target = tmp_path / "file.bin"
    with pytest.raises(UserError, match="the same command continues it"):
        fetch(server.url, target, progress=False)
    server.tag = now
    assert fetch(server.url, target, progress=False).read_bytes() == (CONTENT if now == '"old"' else CONTENT[::-1])
    assert server.asked == [None, "bytes=3000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_nothing_to_continue_is_not_promised(tmp_path):
    with pytest.raises(UserError) as error:
        fetch((tmp_path / "absent.pt").as_uri(), tmp_path / "file.pt", progress=False)
    assert "continues" not in str(error.value)


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_damaged_archive_is_fetched_anew_once_it_is_mended(tmp_path, monkeypatch, kind):
    import tarfile

    from torch import hub

    monkeypatch.setattr(hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "model.pt").write_bytes(CONTENT)
    archive = tmp_path / f"model.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(tmp_path / "model.pt", "model.pt")
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(tmp_path / "model.pt", "model.pt")
    good = archive.read_bytes()
    middle = len(good) // 3
    archive.write_bytes(good[:middle] + bytes(b ^ 255 for b in good[middle : middle + 20]) + good[middle + 20 :])
    with pytest.raises(UserError, match="cannot unpack .*; it was removed, the same call downloads it anew") as error:
        download.fetch_model(archive.as_uri(), progress=False)
    assert "\n" not in str(error.value)
    assert [path for path in (tmp_path / "hub").rglob("*") if not path.is_dir()] == []
    archive.write_bytes(good)
    assert Path(download.fetch_model(archive.as_uri(), progress=False)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("text", "message"), [("- a\n", "expected NAME"), ("m: {}\n", "m has no url"), ("m: 3\n", "m has no url")]
)
def test_a_wrong_list_of_published_models(tmp_path, monkeypatch, text, message):
    (tmp_path / "hub.yaml").write_text(text)
    monkeypatch.setenv("FAIRSEQ_MOS_HUB", str(tmp_path / "hub.yaml"))
    with pytest.raises(UserError, match=message):
        download.fetch_model("m", progress=False)
