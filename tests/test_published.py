"""Models by path, URL and name: fetched and unpacked once, nothing of a failure left."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairseq_mos import archives, download, published
from fairseq_mos.errors import UserError
from fairseq_mos.published import fetch_model
from tests.file_server import CONTENT, serve
from tests.test_archives import KINDS, packed


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "fairseq_mos"


@pytest.fixture
def server():
    with serve() as instance:
        yield instance


def fetch(source) -> Path:
    return Path(fetch_model(source, progress=False))


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_archives_of_every_kind(home, tmp_path, kind):
    file = tmp_path / f"one.{kind}"
    file.write_bytes(packed(kind, ("inner/model.pt", CONTENT), ("readme.txt", b"")))
    for _ in range(2):
        found = fetch(file.as_uri())
        assert found.read_bytes() == CONTENT
        file.write_bytes(b"it is not fetched again")
    entry = found.parents[2]
    assert left(entry) == ["one", f"one.{kind}", "one/inner", "one/inner/model.pt", "one/readme.txt"]
    assert entry.parent == home and os.listdir(home) == [entry.name]


def test_a_folder_of_ours(home, tmp_path):
    file = tmp_path / "one.zip"
    file.write_bytes(packed("zip", ("a/b/arch.json", b"{}"), ("a/other.pt", b""), ("arch.json/x", b"")))
    assert fetch(file.as_uri()).parts[-2:] == ("a", "b")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["damaged", "empty file", "no model", "outside", "bomb"])
def test_nothing_is_left_of_what_is_no_model(home, tmp_path, monkeypatch, kind, fault):
    file = tmp_path / f"model.{kind}"
    good = packed(kind, ("model.pt", CONTENT))
    middle = len(good) // 3
    damaged = good[:middle] + bytes(b ^ 255 for b in good[middle : middle + 20]) + good[middle + 20 :]
    file.write_bytes(
        {
            # Plain tar has no checksum over contents.
            "damaged": damaged if kind != "tar" else good[:1000],
            "empty file": b"",
            "no model": packed(kind, ("readme.txt", b"")),
            "outside": packed(kind, ("../model.pt", b"")),
            "bomb": good,
        }[fault]
    )
    with monkeypatch.context() as patch:
        if fault == "bomb":
            patch.setattr(archives, "MAX_BYTES", 1000)
        message = "cannot unpack .*; it was removed, the same call downloads it anew"
        with pytest.raises(UserError, match=message) as error:
            fetch(file.as_uri())
    assert "\n" not in str(error.value) and left(home) == []
    file.write_bytes(good)
    assert fetch(file.as_uri()).read_bytes() == CONTENT


def test_what_a_killed_call_left_is_no_obstacle(home, tmp_path):
    file = tmp_path / "model.zip"
    file.write_bytes(packed("zip", ("model.pt", CONTENT)))
    entry = fetch(file.as_uri()).parents[1]
    (entry / "model/model.pt").unlink()
    (home / f".{entry.name}.lock").write_text("")
    (entry / ".model.abcdefgh.tmp/new").mkdir(parents=True)
    (entry / ".model.abcdefgh.tmp/new/model.pt").write_text("half")
    assert fetch(file.as_uri()).read_bytes() == CONTENT
    assert left(home) == [entry.name, *(f"{entry.name}/{name}" for name in ("model", "model.zip", "model/model.pt"))]


def test_one_fetches_and_the_others_wait(home, server, monkeypatch):
    server.files["/model.zip"] = packed("zip", ("model.pt", CONTENT))
    barrier, said = threading.Barrier(3), []
    # The answer comes once both others have said that they wait.
    server.pause = lambda: barrier.wait(10)
    monkeypatch.setattr(download.logger, "warning", lambda *texts: (said.append(texts), barrier.wait(10)))
    unpacked = []
    original = archives.unpack
    monkeypatch.setattr(archives, "unpack", lambda *paths: (unpacked.append(paths), original(*paths)))
    url = server.url.replace("file.bin", "model.zip")
    with ThreadPoolExecutor(3) as pool:
        found = {call.result() for call in [pool.submit(fetch, url) for _ in range(3)]}
    assert len(found) == 1 and found.pop().read_bytes() == CONTENT
    assert server.asked == [None] and len(unpacked) == 1
    assert len(said) == 2 and "waiting for another process that fetches" in said[0][0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "give checkpoint=PATH, URL or name"),
        ("", "give checkpoint=PATH, URL or name"),
        (3, "checkpoint is 3, expected a path, URL or name"),
        (["a"], r"checkpoint is \['a'\], expected a path"),
        ("unknown", "checkpoint unknown: no such file, and no model of that name"),
        ("n" * 300, "cannot read nnn.*: File name too long"),
        ("n\0", "cannot read n.*: embedded null"),
        ("\ud800", "no such file|surrogates"),
        ("http://[::1/x.pt", "cannot download .*: Invalid IPv6 URL"),
        ("http://host/", "it names no file"),
        ("http://host/a/..", "it names no file"),
        ("http://" + "n" * 10_000, "it has 10,007 characters"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_models_that_are_nowhere(home, source, message):
    with pytest.raises(UserError, match=message) as error:
        fetch_model(source, progress=False)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert not home.exists() or left(home) == []


@pytest.mark.parametrize("suffix", [".pt", ".zip", ".tar.gz"])
def test_names_that_are_long_or_nothing_but_a_suffix(home, server, suffix):
    server.files[f"/{'n' * 900}{suffix}"] = server.files[f"/{suffix}"] = (
        CONTENT if suffix == ".pt" else packed(suffix[1:], ("model.pt", CONTENT))
    )
    for name in ("n" * 900 + suffix, suffix):
        assert fetch(server.url.replace("file.bin", name)).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written(home, server, tmp_path):
    url = server.url.replace("file.bin", "model.pt")
    server.files["/model.pt"] = CONTENT
    (tmp_path / "home").write_text("a file")
    with pytest.raises(UserError, match="cannot write .*Not a directory|cannot write .*exists"):
        fetch(url)
    (tmp_path / "home").unlink()
    if os.geteuid():
        found = fetch(url)
        os.chmod(home, 0o500)
        try:
            # What is there already serves those who may only read.
            assert fetch(url) == found
            with pytest.raises(UserError, match="cannot write"):
                fetch(f"{url}?other")
        finally:
            os.chmod(home, 0o700)


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected object, got array"),
        ("3\n", "expected object, got int"),
        ("m: {}\n", "m: object missing required field url; a published model is NAME"),
        ("m: 3\n", "m: expected object, got int"),
        ("m: {url: 3}\n", "m: url: expected str, got int"),
        ("m: {url: 'http://[::1/x.pt'}\n", "Invalid IPv6 URL"),
        ("m: {url: 'file:///x.pt', sha256: '00'}\n", "m: sha256: expected str matching regex"),
        ("m: {url: 'file:///x.pt', sha: '00'}\n", "m: object contains unknown field sha"),
        ("m: {url: a, url: b}\n", "the key url stands twice"),
        ("m: [\n", "malformed YAML"),
        ("1: {url: x}\n", "expected str, got int"),
        ("", "no such file, and no model of that name"),
        (f"m: {{url: 'file:///nowhere/x.pt', sha256: {'a' * 64}}}\n", "cannot download file:///nowhere/x.pt: no such"),
    ],
)
def test_a_wrong_list_of_published_models(home, tmp_path, monkeypatch, text, message):
    (tmp_path / "hub.yaml").write_text(text)
    monkeypatch.setenv("FAIRSEQ_MOS_HUB", str(tmp_path / "hub.yaml"))
    with pytest.raises(UserError, match=message) as error:
        fetch_model("m", progress=False)
    assert "\n" not in str(error.value)


def test_a_list_that_is_no_file(tmp_path, monkeypatch):
    places = ((tmp_path, "Is a directory"), (tmp_path / "absent", "No such file"), ("n" * 300, "too long"))
    for place, message in places:
        monkeypatch.setenv("FAIRSEQ_MOS_HUB", str(place))
        with pytest.raises(UserError, match=f"cannot read the list of published models: .*{message}"):
            fetch_model("m", progress=False)


def test_a_published_model_is_what_was_published(home, tmp_path, monkeypatch):
    for name in ("x.pt", "y.pt"):
        (tmp_path / name).write_bytes(CONTENT)
    digest = download.file_digest(tmp_path / "x.pt")
    (tmp_path / "hub.yaml").write_text(
        f"good: {{url: '{(tmp_path / 'x.pt').as_uri()}', sha256: '{digest}'}}\n"
        f"bad: {{url: '{(tmp_path / 'y.pt').as_uri()}', sha256: '{DIGEST}'}}\n"
    )
    monkeypatch.setenv("FAIRSEQ_MOS_HUB", str(tmp_path / "hub.yaml"))
    assert fetch("good").read_bytes() == CONTENT
    with pytest.raises(UserError, match=f"SHA-256 is not {DIGEST}"):
        fetch("bad")


def test_the_shipped_list_can_be_read(monkeypatch):
    monkeypatch.delenv("FAIRSEQ_MOS_HUB", raising=False)
    with pytest.raises(UserError, match="names: none published yet"):
        published.fetch_model("m")
