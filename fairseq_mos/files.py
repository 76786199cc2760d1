"""Writing files so that a reader never meets a half-written one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from fairseq_mos.errors import UserError


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` and renames it to `path` when the block succeeds.

    Args:
        path: the file to write; its folder is created where it is missing.
        mode: `"w"` (UTF-8 text) or `"wb"`.

    Raises:
        UserError: the folder cannot be created, or the file not be written whole.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        # mkstemp makes private files; what we publish should follow the user's umask like any other file.
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if os.path.exists(name):
            os.unlink(name)


def check_folder(path: str | os.PathLike) -> None:
    """Checks, before long work, that a folder can be made or written to; makes nothing.

    Raises:
        UserError: it cannot.
    """
    path = Path(path)
    place = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not place.is_dir():
        raise UserError(f"cannot write {path}: {place} is a file, expected a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: no permission to write to {place}")


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Gives a folder beside `target`, on the same disk, which is gone after the block.

    Raises:
        UserError: it cannot be made, or something in it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
            yield Path(name)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


@contextmanager
def replaced_folder(folder: str | os.PathLike, own: Sequence[str], kept: Sequence[str] = ()) -> Iterator[Path]:
    """Gives a new folder that takes the place of `folder` when the block succeeds.

    Args:
        folder: to write; may exist if it holds nothing but what is written here.
        own: patterns of the names that are written.
        kept: names of files that the user may have edited: those that exist are taken over.

    Raises:
        UserError: `folder` holds something else, or cannot be written.
    """
    folder = Path(folder).resolve()
    if folder.is_dir():
        others = sorted(f.name for f in folder.iterdir() if not any(fnmatch(f.name, name) for name in (*own, *kept)))
        if others:
            raise UserError(f"{folder} holds {others[0]}, which is not of this format: give another --output")
    elif folder.exists():
        raise UserError(f"{folder} is a file: give another --output")
    with staging(folder) as stage:
        new = stage / "new"
        new.mkdir()
        yield new
        for name in kept:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, new / name)
        if folder.exists():
            # Moved, not removed: should the next line fail, nothing is lost.
            os.replace(folder, stage / "old")
        try:
            os.replace(new, folder)
        except OSError:
            os.replace(stage / "old", folder)
            raise
