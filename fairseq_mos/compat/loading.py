"""Checkpoints are loaded safely, and one that cannot be used is named in one line."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError


def _harmless_types() -> list[Any]:
    """The types of fairseq's checkpoints that torch does not allow by itself; none can run code.

    Entries that are pairs also allow the name that numpy 1 gave the function.
    """
    import argparse

    import numpy as np

    try:
        from numpy._core.multiarray import _reconstruct as reconstruct
        from numpy._core.multiarray import scalar
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct as reconstruct
        from numpy.core.multiarray import scalar
    kinds = ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64")
    dtypes = {type(np.dtype(kind)) for kind in kinds}
    old = [(scalar, "numpy.core.multiarray.scalar"), (reconstruct, "numpy.core.multiarray._reconstruct")]
    return [argparse.Namespace, np.ndarray, np.dtype, scalar, reconstruct, *dtypes, *old]


def _needs_safe_globals() -> bool:
    import argparse

    import torch

    known = getattr(torch.serialization, "get_safe_globals", None)
    return known is not None and argparse.Namespace not in known()


def repair_safe_globals() -> bool:
    """Lets `torch.load` read fairseq's checkpoints without trusting them.

    Since torch 2.6 `torch.load` has `weights_only=True`, and `load_checkpoint_to_cpu`
    (`checkpoint_utils.py`) fails on the `argparse.Namespace` of every checkpoint and on the numpy
    values that `--eval-bleu` and other metrics leave in it. These types are harmless data; allowing
    them by name keeps the protection against all others.
    """
    if not _needs_safe_globals():
        return False
    import torch

    torch.serialization.add_safe_globals(_harmless_types())
    return True


def repair_interpolations() -> bool:
    """Keeps text of a checkpoint's configuration text.

    `load_checkpoint_to_cpu` (`checkpoint_utils.py`) makes an OmegaConf object of it, which resolves
    `${oc.env:SECRET}` wherever it is read or written: what the environment holds would end up in logs and in
    files that are shared. fairseq's trainer resolves its own references before it saves, so none is lost.
    """
    from fairseq import checkpoint_utils

    def make(original: Callable) -> Callable:
        def _upgrade_state_dict(state: dict) -> dict:
            from omegaconf import OmegaConf

            for name, value in vars(state["args"]).items() if state.get("args") is not None else ():
                # fairseq makes a resolved configuration of these by itself.
                if isinstance(value, str) and "${" in value:
                    raise UserError(f"args.{name} is {show(value)}: references are not allowed in a checkpoint")
            if OmegaConf.is_config(state.get("cfg")):
                plain = OmegaConf.to_container(state["cfg"], resolve=False)
                escaped = _escaped(plain)
                if escaped != plain:
                    state["cfg"] = OmegaConf.create(escaped, flags={"allow_objects": True})
            return original(state)

        return _upgrade_state_dict

    return replace(checkpoint_utils, "_upgrade_state_dict", "interpolations", make)


def _escaped(value: Any) -> Any:
    """Returns plain data in which OmegaConf finds nothing to resolve."""
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


@contextmanager
def _always_safe() -> Iterator[None]:
    """Within the block `torch.load` is safe in every version and whatever the environment asks for."""
    forced, unsafe = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (forced, unsafe)}
    os.environ[forced] = "1"
    try:
        yield
    finally:
        del os.environ[forced]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _explain(path: str, error: Exception) -> UserError | None:
    """Returns what is wrong with the checkpoint at `path`, or None when it is not the file's fault."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        return UserError(f"checkpoint {path}: {error.strerror or text}")
    forbidden = re.search(r"GLOBAL ([\w.]+)", text) if isinstance(error, pickle.UnpicklingError) else None
    if forbidden:
        name = forbidden.group(1).rstrip(".")
        return UserError(
            f"checkpoint {path} holds the type {name}, which is refused because loading it could run code"
        )
    if isinstance(error, RuntimeError) and re.search(r"memory|allocate", text) and "Pytorch" not in text:
        return None
    if isinstance(error, (pickle.UnpicklingError, EOFError, RuntimeError, UnicodeDecodeError, OverflowError)):
        reason = text.split(". ")[0][:160] or type(error).__name__
        return UserError(f"checkpoint {path} is truncated or not a checkpoint ({reason})")
    if isinstance(error, (KeyError, TypeError, AttributeError, IndexError, ValueError)):
        reason = f"{type(error).__name__}: {text[:160]}"
        return UserError(f"checkpoint {path} is not a whole fairseq checkpoint ({reason})")
    return None


def _mismatch(path: str, error: BaseException | None) -> UserError:
    """Says that the parameters at `path` do not fit the model, with the first detail torch gives."""
    lines = [line.strip().rstrip(".") for line in str(error or "").splitlines() if line.strip()]
    detail = lines[1] if len(lines) > 1 else (lines[0] if lines else "unknown reason")
    return UserError(f"checkpoint {path} does not fit this model or these dictionaries: {detail[:240]}")


def repair_checkpoint_errors() -> bool:
    """Names the file and the reason when a checkpoint cannot be loaded.

    `load_checkpoint_to_cpu` and `load_model_ensemble_and_task` (`checkpoint_utils.py`) end in the
    tracebacks of pickle, zip and OmegaConf, whose advice is to switch off safe loading; this also
    keeps loading safe when an environment variable or an old torch would not.
    """
    from fairseq import checkpoint_utils

    def make_load(original: Callable) -> Callable:
        def load_checkpoint_to_cpu(path: str, *args: Any, **kwargs: Any) -> dict:
            try:
                with _always_safe():
                    state = original(path, *args, **kwargs)
                if not isinstance(state.get("model"), dict):
                    raise UserError(f"model is {show(state.get('model'))}, expected a mapping of tensors")
                return state
            except UserError as error:
                raise UserError(f"checkpoint {path}: {error}") from error
            except Exception as error:
                explained = _explain(path, error)
                if explained is None:
                    raise
                raise explained from error

        return load_checkpoint_to_cpu

    def make_ensemble(original: Callable) -> Callable:
        def load_model_ensemble_and_task(filenames: list[str], *args: Any, **kwargs: Any) -> tuple:
            try:
                return original(filenames, *args, **kwargs)
            except OSError as error:
                if not str(error).startswith("Model file not found: "):
                    raise
                missing = str(error).split(": ", 1)[1]
                raise UserError(f"checkpoint {missing}: no such file (--path)") from error
            except RuntimeError as error:
                if not str(error).startswith("Error(s) in loading state_dict"):
                    raise
                raise _mismatch(os.pathsep.join(filenames), error) from error

        return load_model_ensemble_and_task

    one = replace(checkpoint_utils, "load_checkpoint_to_cpu", "checkpoint_errors", make_load)
    two = replace(checkpoint_utils, "load_model_ensemble_and_task", "checkpoint_errors", make_ensemble)
    return one or two


def repair_missing_restore_file() -> bool:
    """Refuses to train from scratch when the checkpoint that the user named is missing.

    `Trainer.load_checkpoint` (`trainer.py`) only logs "No existing checkpoint found" then, which is
    right for the default `checkpoint_last.pt` and silently wrong for any other `--restore-file`.
    """
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    def make(original: Callable) -> Callable:
        def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> tuple:
            if cfg.restore_file != "checkpoint_last.pt":
                suffix = trainer.checkpoint_suffix
                path = cfg.restore_file.replace(".pt", f"{suffix}.pt") if suffix else cfg.restore_file
                if not PathManager.exists(path):
                    raise UserError(f"--restore-file {path}: no such file")
            try:
                return original(cfg, trainer, **kwargs)
            except ValueError as error:
                if str(error) == f"--finetune-from-model {cfg.finetune_from_model} does not exist":
                    raise UserError(f"--finetune-from-model {cfg.finetune_from_model}: no such file") from error
                if isinstance(error, UserError) or not str(error).startswith("--finetune-from-model"):
                    raise
                raise UserError(str(error).split(": ")[0]) from error

        return load_checkpoint

    return replace(checkpoint_utils, "load_checkpoint", "missing_restore_file", make)


def repair_load_errors_in_training() -> bool:
    """Says in one line why a checkpoint does not fit the training that should start from it.

    `Trainer.load_checkpoint` (`trainer.py`) replaces whatever the model says about a checkpoint by a
    bare `Exception("Cannot load model parameters ...")`. Where a folder stands instead of a file
    (`--finetune-from-model FOLDER`, `--restore-file FOLDER`) it trains from scratch without a word.
    """
    from fairseq.file_io import PathManager
    from fairseq.trainer import Trainer

    def make(original: Callable) -> Callable:
        def load_checkpoint(self: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
            if os.path.lexists(filename) and not PathManager.isfile(filename):
                what = "a folder" if os.path.isdir(filename) else "no file"
                raise UserError(f"{filename} is {what}, expected a checkpoint such as checkpoint_best.pt")
            try:
                return original(self, filename, *args, **kwargs)
            except Exception as error:
                cause = error.__context__
                if isinstance(error, AssertionError) and "does not match; please reset" in str(error):
                    raise UserError(f"checkpoint {filename}: {error}") from error
                if isinstance(error, UserError) or not str(error).startswith("Cannot load model parameters"):
                    raise
                if isinstance(cause, UserError):
                    raise cause from error
                raise _mismatch(filename, cause) from error

        return load_checkpoint

    return replace(Trainer, "load_checkpoint", "load_errors", make)
