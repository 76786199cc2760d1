"""Unpacks archives from strangers: nothing but files and folders, inside the folder, and not without limit."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError, one_line

SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip")

MAX_MEMBERS = 10_000
"""Files and folders of an archive."""

MAX_BYTES = 2**37
"""Bytes of all files together."""

MAX_RATIO = 100
"""Unpacked bytes for one byte of the archive: weights hardly shrink, text to a quarter."""

SMALL = 2**26
"""Bytes that an archive of any size may unpack to."""

_CHUNK = 1 << 20
_MAX_HEADER = 1 << 20
_MAX_NAME, _MAX_PART = 1024, 255
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"\x5d\x00\x00": lzma.open}
# A name that the system refuses, or two members in one place.
_OF_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)


class BadArchive(UserError):
    """An archive that is damaged, or holds what it should not; the message is the reason alone."""


class _Member(NamedTuple):
    name: str
    size: int
    content: IO[bytes] | None
    """None: a folder."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar or zip archive.

    Args:
        archive: the file; packed by gzip, bzip2 or LZMA, or not at all.
        folder: does not exist yet; after an error it may hold a part of the files.

    Raises:
        BadArchive: damaged, or it has links, devices, names that lead out of the folder, too many members, or more
            bytes than :data:`MAX_BYTES`, :data:`MAX_RATIO` or its own sizes allow.
        UserError: not enough space on the disk.
        OSError: the disk is full, or the folder cannot be written.
    """
    folder.mkdir()
    total = 0
    with _members(archive) as (members, limit):
        for count, member in enumerate(members, 1):
            total += member.size
            _check_sizes(count, total, limit)
            _check_space(archive, folder, member.size)
            _write(member, folder)


def unpack_file(archive: Path, name: str, target: Path) -> None:
    """Unpacks one file of a tar or zip archive, without reading further than that.

    Args:
        archive: see :func:`unpack`.
        name: the member's, within the archive.
        target: the file to write; its folder is there.

    Raises:
        BadArchive: damaged, or the same limits are exceeded.
        KeyError: there is no such file.
        OSError: the disk is full.
    """
    with _members(archive, others=True) as (members, limit):
        for member in members:
            if member.content is not None and member.name.removeprefix("./") == name:
                _check_sizes(1, member.size, limit)
                with open(target, "wb") as out:
                    _copy(member, out)
                return
    raise KeyError(name)


@contextmanager
def _members(archive: Path, others: bool = False) -> Iterator[tuple[Iterator[_Member], int]]:
    """Gives an archive's members, and how many bytes they may have together.

    Args:
        archive: the file.
        others: pass over what is neither a file nor a folder, instead of refusing it.
    """
    limit = min(MAX_BYTES, max(SMALL, MAX_RATIO * archive.stat().st_size))
    read = _zip_members if archive.name.endswith(".zip") else _tar_members
    try:
        with open(archive, "rb") as stream:
            yield read(stream, limit, others), limit
    except UserError:
        raise
    except Exception as error:  # damaged files make the libraries raise whatever they like
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_NAMES:
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadArchive(one_line(reason, 160)) from error


def _check_sizes(members: int, total: int, limit: int) -> None:
    if members > MAX_MEMBERS:
        raise BadArchive(f"it has more than {MAX_MEMBERS:,} members")
    if total > limit:
        raise BadArchive(f"it unpacks to more than {limit:,} bytes")


def _check_space(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"cannot unpack {archive}: {size:,} bytes are needed, {free:,} are free on the disk")


def _write(member: _Member, folder: Path) -> None:
    place = folder / _inside(member.name)
    if member.content is None:
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "xb") as out:
        _copy(member, out)


def _copy(member: _Member, out: IO[bytes]) -> None:
    shutil.copyfileobj(member.content, out, _CHUNK)
    if out.tell() != member.size:
        raise BadArchive(f"{_named(member.name)} has {out.tell():,} bytes, not {member.size:,} as it says")


def _inside(name: str) -> PurePosixPath:
    """Returns a member's path, which leads nowhere out of the folder on any system."""
    windows, path = PureWindowsPath(name), PurePosixPath(name)
    if windows.drive or windows.root or path.is_absolute() or ".." in (*windows.parts, *path.parts):
        raise BadArchive(f"{_named(name)} leads out of the folder")
    if not name.isprintable():
        raise BadArchive(f"{_named(name)} has characters that no file name should have")
    if len(name.encode()) > _MAX_NAME or any(len(part.encode()) > _MAX_PART for part in path.parts):
        raise BadArchive(f"{_named(name)} is too long a name ({len(name):,} characters)")
    return path


def _named(name: str) -> str:
    return f"the member {show(name)}"


def _zip_members(stream: IO[bytes], limit: int, others: bool) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as file:
        infos = file.infolist()
        _check_sizes(len(infos), sum(info.file_size for info in infos), limit)
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                if others:
                    continue
                raise BadArchive(f"{_named(info.filename)} is a link or a device")
            if info.flag_bits & 1:
                raise BadArchive(f"{_named(info.filename)} is encrypted")
            if info.is_dir():
                yield _Member(info.filename, 0, None)
                continue
            with file.open(info) as content:
                yield _Member(info.filename, info.file_size, content)


def _tar_members(stream: IO[bytes], limit: int, others: bool) -> Iterator[_Member]:
    begin = stream.read(8)
    stream.seek(0)
    unpacker = next((opener for magic, opener in _PACKED.items() if begin.startswith(magic)), None)
    reader = _Reader(unpacker(stream) if unpacker else stream, limit)
    with tarfile.open(fileobj=reader, mode="r:") as file:
        for info in file:
            if info.isdir():
                yield _Member(info.name, 0, None)
            elif info.isreg() and not info.issparse():
                with file.extractfile(info) as content:
                    yield _Member(info.name, info.size, content)
            elif not others:
                raise BadArchive(f"{_named(info.name)} is a link, a device or a sparse file")
    # For tarfile, a header that it cannot read is as good an end as the zeros that should be there.
    if reader.last.strip(b"\0"):
        raise BadArchive("damaged: a member without a header")
    # What follows the members tells whether all of it has come.
    while reader.read(_CHUNK):
        pass
    if reader.tell() % tarfile.BLOCKSIZE:
        raise BadArchive("damaged: it ends too early")


class _Reader:
    """A stream that is read forwards alone, in small steps, and up to a limit: what tarfile is told is not trusted.

    Its headers may announce names of gigabytes, or sizes below zero, after which it would read in a circle.

    Attributes:
        last: what was read last.
    """

    def __init__(self, stream: IO[bytes], limit: int):
        self._stream, self._limit, self._place, self.last = stream, limit, 0, b""

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise BadArchive(f"a header of {size:,} bytes")
        self.last = content = self._stream.read(size)
        self._place += len(content)
        # Headers and the padding of members come on top of the limit.
        if self._place > self._limit + MAX_MEMBERS * 3 * tarfile.BLOCKSIZE:
            raise BadArchive(f"it unpacks to more than {self._limit:,} bytes")
        return content

    def seek(self, place: int) -> None:
        if place < self._place:
            raise BadArchive("damaged: a member of less than no bytes")
        while self._place < place and self.read(min(_CHUNK, place - self._place)):
            pass
