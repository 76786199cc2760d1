"""Archives from strangers: whole, damaged, malicious, without limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairseq_mos import archives
from fairseq_mos.errors import UserError

CONTENT = random.Random(1).randbytes(5000)
PACK = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}
KINDS = [*PACK, "zip"]


def tar_bytes(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = info.size or len(content)
            file.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zip_bytes(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members:
            file.writestr(member, content)
    return stream.getvalue()


def packed(kind: str, *members) -> bytes:
    return zip_bytes(*members) if kind == "zip" else PACK[kind](tar_bytes(*members))


@pytest.fixture
def unpack(tmp_path):
    """Unpacks bytes and returns the files."""

    def run(content: bytes, kind: str) -> dict[str, bytes]:
        archive, folder = tmp_path / f"archive.{kind}", tmp_path / "folder"
        archive.write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        archives.unpack(archive, folder)
        return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_folders(unpack, tmp_path, kind):
    members = [("m/model.pt", CONTENT), ("m/empty", b""), ("./a/b/ü", b"x"), (".hidden", b"y")]
    found = {"m/model.pt": CONTENT, "m/empty": b"", "a/b/ü": b"x", ".hidden": b"y"}
    assert unpack(packed(kind, *members), kind) == found
    folder = tarfile.TarInfo("only")
    folder.type, folder.mode = tarfile.DIRTYPE, 0
    assert unpack(packed(kind, ("only/" if kind == "zip" else folder, b"")), kind) == {}
    assert (tmp_path / "folder/only").is_dir()


def test_rights_and_owners_stay_behind(unpack, tmp_path):
    info = tarfile.TarInfo("model.pt")
    info.mode, info.uid = 0o6777, 12345
    unpack(tar_bytes((info, CONTENT)), "tar")
    assert stat.S_IMODE((tmp_path / "folder/model.pt").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x", "leads out of the folder"),
        ("a/../../x", "leads out of the folder"),
        ("a\\..\\..\\x", "leads out of the folder"),
        ("/etc/x", "leads out of the folder"),
        ("C:/x", "leads out of the folder"),
        ("\\\\host\\share\\x", "leads out of the folder"),
        ("a\nb", "characters that no file name should have"),
        ("a\x1b[0m", "characters that no file name should have"),
        ("n" * 300, "is too long a name"),
        ("ü" * 200, "is too long a name"),
        ("n/" * 600 + "x", "is too long a name"),
        (".", "exists|folder|directory"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_names(unpack, tmp_path, kind, name, message):
    with pytest.raises(archives.BadArchive, match=message) as error:
        unpack(packed(kind, (name, b"x"), ("model.pt", CONTENT)), kind)
    assert str(error.value).isprintable() and len(str(error.value)) < 200
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"archive.{kind}", "folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_members_in_one_place(unpack, kind):
    for second in ("a", "a/b"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile's, while writing
            content = packed(kind, ("a", b"x"), (second, b"y"))
        with pytest.raises(archives.BadArchive, match="exists|Not a directory"):
            unpack(content, kind)


@pytest.mark.parametrize(
    "type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"]
)
def test_links_and_devices_of_tar(unpack, tmp_path, type_):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = type_, "/etc/passwd"
    with pytest.raises(archives.BadArchive, match="'link' is a link, a device or a sparse file"):
        unpack(tar_bytes((info, b""), ("link/x", b"x")), "tar")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_of_zip(unpack, tmp_path, mode):
    info = zipfile.ZipInfo("link")
    info.external_attr = (mode | 0o777) << 16
    with pytest.raises(archives.BadArchive, match="'link' is a link or a device"):
        unpack(zip_bytes((info, b"/etc/passwd")), "zip")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_it_should_unpack_to(unpack, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "SMALL", 100_000)
    bomb = packed(kind, ("model.pt", b"x"), ("zeros", bytes(1_000_000)))
    if kind == "tar":
        assert len(unpack(bomb, kind)["zeros"]) == 1_000_000
        return
    assert len(bomb) * archives.MAX_RATIO < 1_000_000
    with pytest.raises(archives.BadArchive, match="it unpacks to more than [0-9,]+ bytes"):
        unpack(bomb, kind)
    assert not (tmp_path / "folder/zeros").exists()
    monkeypatch.setattr(archives, "SMALL", 2_000_000)
    assert len(unpack(bomb, kind)["zeros"]) == 1_000_000
    monkeypatch.setattr(archives, "MAX_BYTES", 100_000)
    with pytest.raises(archives.BadArchive, match="it unpacks to more than 100,000 bytes"):
        unpack(bomb, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_more_members_than_a_model_has(unpack, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    with pytest.raises(archives.BadArchive, match="it has more than 20 members"):
        unpack(packed(kind, *((f"f{number}", b"") for number in range(30))), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_disk_takes(unpack, monkeypatch, kind):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(4000))
    with pytest.raises(UserError, match="5,000 bytes are needed, 4,000 are free on the disk") as error:
        unpack(packed(kind, ("model.pt", CONTENT)), kind)
    # The archive is as good as it was.
    assert not isinstance(error.value, archives.BadArchive)


def header(**fields) -> bytes:
    """A tar header whose size may be a lie."""
    info = tarfile.TarInfo("model.pt")
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(size=10_000) + CONTENT, "unexpected end"),
        (header(size=2**60) + CONTENT, "it unpacks to more than"),
        (header(size=2**40, type=tarfile.GNUTYPE_LONGNAME) + CONTENT, "a header of 1,099,511,627,776 bytes"),
        (header(size=2**40, type=tarfile.XHDTYPE) + CONTENT, "a header of 1,099,511,627,776 bytes"),
        (header(size=-(2**40)) + CONTENT, "has 0 bytes, not -1,099,511,627,776 as it says|less than no bytes"),
        (header(size=-512) + bytes(1024), "has 0 bytes, not -512 as it says|less than no bytes"),
        (header(size=-512, type=tarfile.GNUTYPE_LONGNAME) + bytes(1024), "a header of -512 bytes|damaged"),
        (header(size=0) + b"no header" * 1000, "damaged"),
        (header(size=0) + header(size=0, name="other")[:100], "damaged|truncated"),
        (header(size=5, type=tarfile.GNUTYPE_SPARSE) + CONTENT, "sparse"),
    ],
    ids=lambda value: value[:9] if isinstance(value, str) else "tar",
)
def test_sizes_of_tar_that_lie(unpack, content, message):
    with pytest.raises(archives.BadArchive, match=message):
        unpack(content, "tar")


@pytest.mark.parametrize("size", [4000, 6000])
def test_sizes_of_zip_that_lie(unpack, size):
    content = zip_bytes(("model.pt", CONTENT))
    assert content.count((5000).to_bytes(4, "little")) == 2
    with pytest.raises(archives.BadArchive):
        unpack(content.replace((5000).to_bytes(4, "little"), size.to_bytes(4, "little")), "zip")


def test_encrypted(unpack):
    content = bytearray(zip_bytes(("model.pt", CONTENT)))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(archives.BadArchive, match="is encrypted"):
        unpack(bytes(content), "zip")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_and_something_else(unpack, kind):
    for content in (b"", b"\0", b"no archive at all" * 100, PACK.get(kind, bytes)(b"no archive")):
        with pytest.raises(archives.BadArchive):
            unpack(content, kind)
    if kind != "tar":
        # The kind's first bytes, and nothing that belongs there.
        with pytest.raises(archives.BadArchive):
            unpack(packed(kind, ("a", b"x"))[:12] + b"\xff" * 100, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off(unpack, kind):
    content = packed(kind, ("model.pt", CONTENT), ("arch.json", b"{}"))
    # The zeros behind a tar's last member may be missing: what matters is all there.
    for end in range(0, len(content) - 2 * 512 if kind == "tar" else len(content), len(content) // 60):
        with pytest.raises(archives.BadArchive):
            unpack(content[:end], kind)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(KINDS), place=st.floats(0, 1), new=st.binary(min_size=1, max_size=12))
def test_damaged_anywhere(tmp_path, kind, place, new):
    """It is unpacked, or refused in one line; nothing else is written."""
    content = bytearray(packed(kind, ("m/model.pt", CONTENT[:700]), ("m/arch.json", b"{}")))
    begin = int(place * (len(content) - 1))
    content[begin : begin + len(new)] = new
    archive, folder = tmp_path / f"archive.{kind}", tmp_path / "folder"
    archive.write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        archives.unpack(archive, folder)
    except UserError as error:
        assert str(error) and str(error).isprintable()
    assert {path.name for path in tmp_path.iterdir()} <= {folder.name, *(f"archive.{kind}" for kind in KINDS)}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.one_of(st.text(max_size=30), st.text("./\\:a~ ", max_size=12)), kind=st.sampled_from(["tar", "zip"]))
@example(name="..", kind="tar")
def test_any_name_is_inside_or_refused(tmp_path, name, kind):
    try:
        content = packed(kind, (name, b"x"))
    except (ValueError, IndexError):  # no name that an archive can have
        return
    archive, folder = tmp_path / f"archive.{kind}", tmp_path / "folder"
    archive.write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        archives.unpack(archive, folder)
    except archives.BadArchive:
        return
    found = [Path(place, file) for place, _, files in os.walk(folder) for file in files]
    assert len(found) == (0 if name.endswith("/") and kind == "zip" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_one_file(tmp_path, kind):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    first = [(link, b"")] if kind != "zip" else []
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(packed(kind, *first, ("./x/a.txt", CONTENT), ("./b.txt", b"b")))
    archives.unpack_file(archive, "b.txt", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"b"
    with pytest.raises(KeyError):
        archives.unpack_file(archive, "link", tmp_path / "c")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "zip"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_one_file_has_the_same_limits(tmp_path, monkeypatch, kind, name):
    monkeypatch.setattr(archives, "SMALL", 2**20)
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(packed(kind, ("a", bytes(2**26)), ("b", b"b")))
    with pytest.raises(archives.BadArchive, match="unpacks to more than"):
        archives.unpack_file(archive, name, tmp_path / "out")
