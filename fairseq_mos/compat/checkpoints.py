"""Checkpoint files are whole at every moment, and an unusable folder is named."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError


def _not_written(path: str, error: BaseException) -> BaseException:
    """Cleans up after a checkpoint that could not be written; says why, if it was for the system's sake."""
    Path(f"{path}.tmp").unlink(missing_ok=True)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__  # torch complains that its file has not grown
    if cause is None:
        return error
    return UserError(f"cannot write checkpoint {path}: {cause.strerror or cause}; the last whole ones stay")


def repair_full_disk() -> bool:
    """Says in one line that a checkpoint cannot be written, such as on a full disk.

    `torch_persistent_save` (`checkpoint_utils.py`) ends in two tracebacks and leaves its temporary file, which
    keeps the disk full. Before that it tries twice more, into the same stream: what the first attempt wrote would
    come first in a file that no one can read.
    """
    from fairseq import checkpoint_utils

    def make_attempt(original: Callable) -> Callable:
        def _torch_persistent_save(obj: Any, f: Any) -> None:
            if isinstance(f, str):
                original(obj, f)
            else:
                torch.save(obj, f)

        return _torch_persistent_save

    def make_save(original: Callable) -> Callable:
        def torch_persistent_save(obj: Any, filename: str, async_write: bool = False) -> None:
            try:
                original(obj, filename, async_write)
            except (OSError, RuntimeError) as error:
                raise _not_written(filename, error) from error

        return torch_persistent_save

    import torch

    first = replace(checkpoint_utils, "_torch_persistent_save", "full_disk", make_attempt)
    return replace(checkpoint_utils, "torch_persistent_save", "full_disk", make_save) or first


def _needs_copy(copy: Callable) -> bool:
    """Whether a copy writes into the file that is already there instead of replacing it."""
    with tempfile.TemporaryDirectory() as folder:
        source, target, witness = (Path(folder, name) for name in ("source", "target", "witness"))
        source.write_text("new")
        target.write_text("old")
        os.link(target, witness)
        copy(str(source), str(target), overwrite=True)
        return witness.read_text() != "old"


def repair_copy() -> bool:
    """Makes `PathManager.copy` replace its target in one step.

    `torch_persistent_save` (`checkpoint_utils.py`) writes a temporary file and renames it, but
    `save_checkpoint` then copies that file over `checkpoint_best.pt` and `checkpoint_last.pt` with
    `shutil.copyfile` (`file_io.py`): a run killed meanwhile leaves a truncated `checkpoint_last.pt`
    and cannot be resumed. Paths that need a foreign path handler keep fairseq's copy.
    """
    from fairseq.file_io import PathManager

    try:
        if not _needs_copy(PathManager.copy):
            return False
    except OSError:  # no room or no hard links for the probe: the safe copy is right anyway
        pass

    def make(original: Callable) -> Callable:
        def copy(src_path: str, dst_path: str, overwrite: bool = False) -> str | bool:
            if not (PathManager.supports_rename(src_path) and PathManager.supports_rename(dst_path)):
                return original(src_path, dst_path, overwrite)
            # One fixed name, as `torch_persistent_save` uses: what a killed run leaves, the next one reuses.
            temporary = f"{dst_path}.tmp"
            try:
                shutil.copyfile(src_path, temporary)
                os.replace(temporary, dst_path)
            except OSError as error:
                raise _not_written(dst_path, error) from error
            return dst_path

        return copy

    return replace(PathManager, "copy", "copy", make)


def repair_save_dir_error() -> bool:
    """Names the flag and the folder when checkpoints cannot be written.

    `verify_checkpoint_directory` (`checkpoint_utils.py`) ends in the bare traceback of an `OSError`.
    """
    from fairseq import checkpoint_utils

    def make(original: Callable) -> Callable:
        def verify_checkpoint_directory(save_dir: str) -> None:
            try:
                original(save_dir)
            except OSError as error:
                reason = error.strerror or error
                raise UserError(f"--save-dir {save_dir}: cannot write there ({reason})") from error

        return verify_checkpoint_directory

    return replace(checkpoint_utils, "verify_checkpoint_directory", "save_dir_error", make)
