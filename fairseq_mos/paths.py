"""Questions about files and folders that never end in a traceback.

`pathlib` answers "no" for what does not exist, but raises for a name that is too long, a folder that may not be
entered, a loop of links or a device that fails. Here the answer to those is one line for the user.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError

_ABSENT = {errno.ENOENT, errno.ENOTDIR}


def is_file(path: str | os.PathLike) -> bool:
    """Whether there is a regular file (or a link to one)."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: str | os.PathLike) -> bool:
    """Whether there is a folder (or a link to one)."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def exists(path: str | os.PathLike) -> bool:
    """Whether there is anything; a link to nothing is nothing."""
    return _mode(path) is not None


def place(name: str, value: object) -> str | None:
    """Returns what may be one of pathlib's paths as a text that names something or nothing.

    Args:
        name: of the argument, for messages.
        value: given for it.

    Raises:
        UserError: it is no path.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, (str, type(None))):
        raise UserError(f"{name} is {show(value)}, expected a path")
    if path is not None:
        exists(path)
    return path


def listing(folder: str | os.PathLike) -> list[Path]:
    """Returns what a folder holds, sorted by name.

    Raises:
        UserError: no such folder, or one that may not be read.
    """
    try:
        return sorted(Path(folder).iterdir())
    except (OSError, ValueError) as error:
        raise _refusal(folder, error) from None


def found_below(folder: str | os.PathLike, pattern: str) -> list[Path]:
    """Returns what matches a glob pattern in a folder, sorted by name; nothing where there is no folder.

    Raises:
        UserError: it may not be read.
    """
    try:
        return sorted(Path(folder).glob(pattern)) if is_folder(folder) else []
    except (OSError, ValueError) as error:
        raise _refusal(folder, error) from None


def _mode(path: str | os.PathLike) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _refusal(path, error) from None
    except ValueError as error:  # a null character
        raise _refusal(path, error) from None


def _refusal(path: str | os.PathLike, error: Exception) -> UserError:
    name = show(os.fspath(path), 120)[1:-1]
    return UserError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}")
