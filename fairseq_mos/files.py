"""Writing files so that a reader never meets a half-written one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
        UserError: the folder cannot be created or written to.
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
    except BaseException:
        if os.path.exists(name):
            os.unlink(name)
        raise


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
