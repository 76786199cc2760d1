"""A resumed run goes on exactly where the interrupted one stopped, on one rank or several."""

from __future__ import annotations

import inspect
import io
import logging
import sys
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import is_replaced, replace

_CONFIG = "__omegaconf__"
_FP16_COUNTERS = ("_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def repair_epoch_boundary() -> bool:
    """Gives a run resumed in epoch 2 or later the batches that the uninterrupted run uses.

    `FairseqTask.get_batch_iterator` (`tasks/fairseq_task.py`) orders the data with `seed + epoch` when
    it builds batches. An uninterrupted run builds them once, in epoch 1, and reuses them; a resumed run
    builds them in the epoch it resumes, so its batches differ. Here an iterator that will be reused
    is always built as in epoch 1. Batches rebuilt in every epoch are left alone: they are exact.
    """
    from fairseq.tasks import FairseqTask

    def make(original: Callable) -> Callable:
        signature = inspect.signature(original)

        def get_batch_iterator(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            given = bound.arguments
            dataset, epoch = given["dataset"], given["epoch"]
            reused = (
                self.can_reuse_epoch_itr(dataset)
                and not given.get("disable_iterator_cache", False)
                and not given.get("update_epoch_batch_itr", False)
                and not getattr(self.cfg, "rebuild_batches", False)
            )
            if epoch <= 1 or not reused or dataset in self.dataset_to_epoch_iter:
                return original(self, *args, **kwargs)
            given["epoch"] = 1
            iterator = original(*bound.args, **bound.kwargs)
            iterator.epoch = epoch
            dataset.set_epoch(epoch)
            return iterator

        return get_batch_iterator

    if is_replaced(FairseqTask, "get_batch_iterator", "epoch_boundary") or not _needs_epoch_boundary():
        return False
    return replace(FairseqTask, "get_batch_iterator", "epoch_boundary", make)


def _needs_epoch_boundary() -> bool:
    """Whether the order of a reusable data set depends on the epoch in which it is first asked for."""
    import numpy as np
    from fairseq.data import FairseqDataset
    from fairseq.tasks import FairseqTask

    class Probe(FairseqDataset):
        sizes = np.ones(8, dtype=np.int64)

        def __len__(self) -> int:
            return len(self.sizes)

        def num_tokens(self, index: int) -> int:
            return 1

        def ordered_indices(self) -> np.ndarray:
            return np.random.permutation(len(self))

        def collater(self, samples: list) -> list:
            return samples

        def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
            return self.sizes[indices]

    def order(epoch: int) -> list[list[int]]:
        iterator = FairseqTask(None).get_batch_iterator(Probe(), max_sentences=8, epoch=epoch)
        return [list(batch) for batch in iterator.frozen_batches]

    logger = logging.getLogger("fairseq.tasks.fairseq_task")
    was_disabled, logger.disabled = logger.disabled, True  # the user has asked for no batches yet
    try:
        return order(1) != order(2)
    finally:
        logger.disabled = was_disabled


def _needs_broadcast() -> bool:
    """Whether a configuration that went through `torch.save` cannot be loaded back safely."""
    import torch
    from omegaconf import OmegaConf

    stream = io.BytesIO()
    torch.save(OmegaConf.create({"a": 1}), stream)
    stream.seek(0)
    try:
        torch.load(stream, map_location="cpu")
    except Exception:
        return True
    return False


def _to_plain(value: Any) -> Any:
    """Replaces configurations inside containers by plain ones, marked for :func:`_from_plain`."""
    from omegaconf import OmegaConf

    if OmegaConf.is_config(value):
        return {_CONFIG: OmegaConf.to_container(value, resolve=False, enum_to_str=True)}
    if type(value) is dict:
        return {key: _to_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_to_plain(item) for item in value)
    return value


def _from_plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    if type(value) is dict:
        if value.keys() == {_CONFIG}:
            return OmegaConf.create(value[_CONFIG], flags={"allow_objects": True})
        return {key: _from_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_from_plain(item) for item in value)
    return value


def repair_broadcast() -> bool:
    """Lets the other ranks receive the checkpoint that rank 0 read.

    `_broadcast_object_slow` (`distributed/utils.py`) calls `torch.load`, which is safe since torch 2.6
    and refuses the OmegaConf configuration that the checkpoint holds by then, and fairseq's own
    placeholder for tensors. The configuration travels as plain containers; the placeholder is an
    integer in a class of fairseq's and is allowed by name.
    """
    from fairseq.distributed import utils

    if is_replaced(utils, "broadcast_object", "broadcast") or not _needs_broadcast():
        return False
    import torch

    torch.serialization.add_safe_globals([utils._TensorPlaceholder])

    def make(original: Callable) -> Callable:
        def broadcast_object(obj: Any, *args: Any, **kwargs: Any) -> Any:
            return _from_plain(original(_to_plain(obj), *args, **kwargs))

        return broadcast_object

    return replace(utils, "broadcast_object", "broadcast", make)


def _loss_scaler_state(optimizer: Any) -> dict[str, Any] | None:
    """What `optimizer`'s loss scaler needs to go on (plain numbers), or None without a scaler."""
    scaler = getattr(optimizer, "scaler", None)
    if scaler is None:
        return None
    if hasattr(scaler, "state_dict"):
        return scaler.state_dict()
    return {name: getattr(scaler, name) for name in _FP16_COUNTERS if hasattr(scaler, name)}


def _load_loss_scaler_state(optimizer: Any, state: dict[str, Any]) -> None:
    """Restores :func:`_loss_scaler_state`; a state of another precision is ignored."""
    present = _loss_scaler_state(optimizer)
    if not present or present.keys() != state.keys():
        return
    if hasattr(optimizer.scaler, "load_state_dict"):
        optimizer.scaler.load_state_dict(state)
    else:
        vars(optimizer.scaler).update(state)


def _extend_checkpoint(
    tag: str, save: Callable[[Any], Any], load: Callable[[Any, Any], None], key: str
) -> bool:
    """Adds `extra_state[key] = save(trainer)` to checkpoints (unless None) and restores it by `load`."""
    from fairseq.trainer import Trainer

    def make_save(original: Callable) -> Callable:
        def state_dict(self: Any) -> dict:
            state = original(self)
            value = save(self)
            if value is not None:
                state["extra_state"][key] = value
            return state

        return state_dict

    def make_load(original: Callable) -> Callable:
        def load_checkpoint(
            self: Any,
            filename: str,
            reset_optimizer: bool = False,
            reset_lr_scheduler: bool = False,
            optimizer_overrides: dict | None = None,
            reset_meters: bool = False,
        ) -> dict | None:
            extra = original(
                self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters
            )
            if extra is not None and key in extra and not (reset_optimizer or reset_meters):
                load(self, extra[key])
            return extra

        return load_checkpoint

    saves = replace(Trainer, "state_dict", tag, make_save)
    return replace(Trainer, "load_checkpoint", tag, make_load) and saves


def repair_loss_scaler() -> bool:
    """Keeps the loss scaler of `--amp` and `--fp16` in the checkpoint.

    `AMPOptimizer` (`optim/amp_optimizer.py`) saves nothing of its gradient scaler, so that a resumed
    run starts at the initial scale again and throws batches away; `FP16Optimizer`
    (`optim/fp16_optimizer.py`) saves the scale but not the counters that say when it changes.
    """
    return _extend_checkpoint(
        "loss_scaler",
        lambda trainer: _loss_scaler_state(trainer.optimizer),
        lambda trainer, state: _load_loss_scaler_state(trainer.optimizer, state),
        "loss_scaler",
    )


def early_stopping_counter() -> Callable | None:
    """fairseq-train's `should_stop_early`, whose attributes are the count, wherever that command was run from."""
    main = sys.modules["__main__"]
    if getattr(getattr(main, "__spec__", None), "name", None) != "fairseq_cli.train":  # python -m
        main = sys.modules.get("fairseq_cli.train")
    return getattr(main, "should_stop_early", None)


def repair_early_stopping() -> bool:
    """Keeps the count behind `--patience` in the checkpoint.

    `should_stop_early` (`fairseq_cli/train.py`) counts in attributes of the function, so that a
    resumed run forgets the validations without progress and trains longer than an uninterrupted one.
    """

    def save(trainer: Any) -> dict[str, Any] | None:
        function = early_stopping_counter()
        if trainer.cfg.checkpoint.patience <= 0 or not hasattr(function, "best"):
            return None
        return {"best": float(function.best), "num_runs": getattr(function, "num_runs", 0)}

    def load(trainer: Any, state: dict[str, Any]) -> None:
        function = early_stopping_counter()
        if function is not None and trainer.cfg.checkpoint.patience > 0:
            vars(function).update(state)

    return _extend_checkpoint("early_stopping", save, load, "early_stopping")
