"""Writing files so that a reader never meets a half-written one, and a killed writer leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError
from fairseq_mos.paths import exists, is_file, is_folder, listing

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_SUFFIX, _LOCK = ".tmp", "lock"
_NEW, _OLD = "new", "old"


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` and renames it to `path` when the block succeeds.

    What a killed writer of the same file left behind is removed.

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
        _remove_stale(path)
        handle, name = _temporary(path)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error
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
        raise cannot_write(path, error) from error
    finally:
        if os.path.exists(name):
            os.unlink(name)


def cannot_write(path: str | os.PathLike, error: Exception) -> UserError:
    """Returns what to say when a file or a folder cannot be written."""
    return UserError(f"cannot write {show(str(path), 200)[1:-1]}: {getattr(error, 'strerror', None) or error}")


def check_folder(path: str | os.PathLike) -> None:
    """Checks, before long work, that a folder can be made or written to; makes nothing.

    Raises:
        UserError: it cannot.
    """
    path = Path(path)
    place = next(parent for parent in (path, *path.absolute().parents) if exists(parent))
    if not is_folder(place):
        raise UserError(f"cannot write {path}: {place} is a file, expected a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: no permission to write to {place}")


def check_output(path: str | os.PathLike) -> None:
    """Checks, before long work, that a file or folder of this name can be written; makes nothing.

    Raises:
        UserError: it cannot.
    """
    exists(path)  # a name that is too long, a loop of links
    check_folder(Path(path).absolute().parent)


def check_unread(writes: Iterable[str | os.PathLike], reads: Iterable[str | os.PathLike]) -> None:
    """Checks, before work, that nothing that is read would be overwritten.

    Args:
        writes: what will be written.
        reads: what is read; names of other things among them do no harm.

    Raises:
        UserError: a file or folder is both.
    """
    reads = list(reads)
    for write in writes:
        for read in reads:
            try:
                same = os.path.samefile(write, read)
            except (OSError, ValueError):  # one of them is not there
                continue
            if same:
                raise UserError(f"writing {write} would overwrite {read}, which is read: give another --output")


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Gives a folder beside `target`, on the same disk, which is gone after the block.

    What a killed writer of the same target left behind is removed first; if it was killed between the two
    renames of :func:`replaced_folder`, the old folder comes back.

    Raises:
        UserError: it cannot be made, or something in it cannot be written.
    """
    handle = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=_prefix(target), suffix=_SUFFIX) as name:
            handle = os.open(name, os.O_RDONLY)
            _lock(handle)
            yield Path(name)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def exclusive(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Lets one process at a time work on `target`; the others wait for it.

    The lock is a file beside `target`, which is gone afterwards; what a killed process leaves of it is free. Without
    the right to make one, or on a disk without locks, nobody waits.

    Args:
        target: a file or a folder, which need not exist.
        waiting: called, once, when another process has it.

    Raises:
        UserError: the folder of `target` cannot be made.
    """
    path, handle = target.with_name(_prefix(target) + _LOCK), None
    try:
        handle = _held(path, waiting)
    except PermissionError:
        pass
    except (OSError, ValueError) as error:
        raise cannot_write(target, error) from error
    try:
        yield
    finally:
        if handle is not None:
            # Before it is let go: afterwards it may be somebody else's.
            path.unlink(missing_ok=True)
            os.close(handle)


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
    with staging(folder) as stage:
        if is_folder(folder):
            others = [f.name for f in listing(folder) if not any(fnmatch(f.name, name) for name in (*own, *kept))]
            if others:
                raise UserError(f"{folder} holds {others[0]}, which is not of this format: give another --output")
        elif exists(folder):
            raise UserError(f"{folder} is a file: give another --output")
        new = stage / _NEW
        new.mkdir()
        yield new
        for name in kept:
            if is_file(folder / name):
                shutil.copyfile(folder / name, new / name)
        if folder.exists():
            # Moved, not removed: should the next line fail, or this process be killed, nothing is lost.
            os.replace(folder, stage / _OLD)
        try:
            os.replace(new, folder)
        except OSError:
            os.replace(stage / _OLD, folder)
            raise


def _prefix(path: Path) -> str:
    # Longer names would exceed what file systems allow.
    return f".{path.name[:100]}."


def _temporary(path: Path) -> tuple[int, str]:
    """Returns an open, locked file beside `path`, and its name."""
    for _ in range(3):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=_SUFFIX)
        # Another writer of the same file may have taken it for a stale one before it was locked.
        if _lock(handle) and os.path.exists(name):
            break
    return handle, name


def _remove_stale(target: Path) -> None:
    """Removes temporary files and folders of `target` whose writers are gone, which their locks tell."""
    prefix = _prefix(target)
    for entry in list(os.scandir(target.parent)):
        random = entry.name[len(prefix) : -len(_SUFFIX)]
        # mkstemp draws eight characters: other files of similar names are somebody else's.
        if not (entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX) and len(random) == 8):
            continue
        try:
            handle = os.open(entry.path, os.O_RDONLY)
        except OSError:
            continue
        try:
            if not _lock(handle):
                continue
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            old = Path(entry.path, _OLD)
            if old.is_dir() and not target.exists():
                os.replace(old, target)
            shutil.rmtree(entry.path)
        except OSError:
            pass  # in the way of nobody
        finally:
            os.close(handle)


def _held(path: Path, waiting: Callable[[], None]) -> int | None:
    """Waits for a lock file and returns it, open and locked, or None where there are no locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while fcntl is not None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Of several that wait, one is next and the others find a new file: that is still one wait.
                if not told:
                    waiting()
                told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever had it may have removed it: what others open from now on is another file.
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:  # removed between the two questions
            pass
        except OSError:
            path.unlink(missing_ok=True)
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    return None


def _lock(handle: int) -> bool:
    """Locks an open file or folder until it is closed; False if that cannot be done, or somebody holds it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
