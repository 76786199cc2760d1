"""One training at a time writes to a folder of checkpoints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_NAME = ".training.lock"

_held: dict[str, IO] = {}
"""The locks of this process by folder; held until it ends, however it ends."""


def _hold(folder: str) -> None:
    """Locks `folder` for this process; does nothing where the file system has no locks.

    Raises:
        UserError: another process holds it.
    """
    key = os.path.realpath(folder)
    if fcntl is None or key in _held:
        return
    try:
        file = open(os.path.join(key, _NAME), "a+b", buffering=0)  # noqa: SIM115 (held until the end)
    except OSError:  # fairseq has tried to write there, and says so itself
        return
    try:
        # A lock of the process, not of the open file: data workers, which may outlive a killed training
        # for some seconds, do not inherit it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        owner = file.read(20).decode("ascii", "replace").strip()
        raise UserError(
            f"--save-dir {folder}: another training is writing there{f' (process {owner})' if owner else ''}; wait "
            "for its end, end it, or give another --save-dir"
        ) from error
    except OSError:
        file.close()
        return
    _held[key] = file
    with contextlib.suppress(OSError):  # a full disk, which the first checkpoint will meet
        file.truncate(0)
        file.write(b"%d" % os.getpid())


def _remove_leftovers(folder: str) -> None:
    """Removes what a training that was killed while it wrote a checkpoint has left."""
    for path in Path(folder).glob("checkpoint*.pt.tmp"):
        path.unlink(missing_ok=True)


def repair_shared_save_dir() -> bool:
    """Refuses a training whose folder another one is writing to.

    Nothing in fairseq keeps a second training, or the same one started again while an orphan of the first
    start is still running, from mixing its checkpoints with those of the first. Rank 0 holds the lock.
    """
    from fairseq import checkpoint_utils
    from fairseq.distributed import utils
    from fairseq.file_io import PathManager

    def make(original: Callable) -> Callable:
        def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> tuple:
            local = not PathManager.path_requires_pathmanager(cfg.save_dir)
            if local and not cfg.no_save and utils.is_master(trainer.cfg.distributed_training):
                _hold(cfg.save_dir)
                _remove_leftovers(cfg.save_dir)
            return original(cfg, trainer, **kwargs)

        return load_checkpoint

    return replace(checkpoint_utils, "load_checkpoint", "shared_save_dir", make)
