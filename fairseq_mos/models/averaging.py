"""Averaging the weights of checkpoints."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from fairseq_mos.errors import UserError
from fairseq_mos.files import check_unread
from fairseq_mos.models.content import plain_config
from fairseq_mos.models.loading import load_state, save_state
from fairseq_mos.paths import listing
from fairseq_mos.ranges import COUNT

_NAME = re.compile(r"checkpoint(?:(?P<epoch>[0-9]+)|_(?P<during>[0-9]+)_(?P<updates>[0-9]+))(?P<suffix>|[^0-9].*)\.pt")


def average_checkpoints(paths: list[str | Path], output: str | Path) -> None:
    """Writes the last of `paths` with the mean of all their weights.

    Floating-point tensors are summed in double precision; others must agree.

    Args:
        paths: fairseq checkpoints of one model.
        output: checkpoint to write.

    Raises:
        UserError: no or unusable checkpoints, checkpoints of different models, or an output that is one of them.
    """
    if not paths:
        raise UserError("no checkpoints to average")
    check_unread([output], paths)
    sums: dict[str, torch.Tensor] = {}
    first: dict[str, torch.Tensor] = {}
    for path in paths:
        state = load_state(str(path))
        model = state["model"]
        first = first or model
        if model.keys() != first.keys() or any(model[k].shape != first[k].shape for k in model):
            raise UserError(f"{path} holds another model than {paths[0]}: their tensors differ")
        for name, value in model.items():
            if value.is_floating_point():
                sums[name] = sums[name] + value.double() if name in sums else value.double()
            elif not torch.equal(value, first[name]):
                raise UserError(f"{path} holds another model than {paths[0]}: {name} differs")
    averaged, by_storage = {}, {}
    for name, value in model.items():
        # Tensors that several names share (tied embeddings) stay shared, and the file small.
        storage = (value.data_ptr(), value.shape)
        if storage not in by_storage:
            mean = (sums[name] / len(paths)).to(value.dtype) if name in sums else value
            by_storage[storage] = mean
        averaged[name] = by_storage[storage]
    state["model"] = averaged
    state["last_optimizer_state"] = None
    cfg = state.get("cfg")
    save_state({**state, "cfg": None if cfg is None else plain_config(cfg)}, output)


def last_checkpoints(
    folder: str, number: int, by_update: bool, upper_bound: int | None = None, suffix: str | None = None
) -> list[Path]:
    """Returns the last `number` epoch (`checkpointE.pt`) or update (`checkpoint_E_U.pt`) checkpoints, oldest first.

    Args:
        folder: where fairseq-train saved them.
        number: how many.
        by_update: update checkpoints instead of epoch checkpoints. fairseq saves an update that ends an epoch as
            `checkpointE.pt` alone: where `--save-interval-updates` divides its number, it is one of them.
        upper_bound: ignore those above this epoch or update.
        suffix: fairseq's `--checkpoint-suffix`, which stands before `.pt`; None: without one where there are such
            checkpoints, else the only one that is there.

    Raises:
        UserError: fewer than `number` exist, or checkpoints of several suffixes.
    """
    COUNT.check("the number of checkpoints to average", number)
    by_suffix: dict[str, list[tuple[int, float, Path]]] = {}
    for file in listing(folder):
        match = _NAME.fullmatch(file.name)
        if match and (by_update or match["updates"] is None):
            # The end of an epoch comes after all other updates in it.
            place = (int(match["epoch"] or match["during"]), float(match["updates"] or "inf"), file)
            by_suffix.setdefault(match["suffix"], []).append(place)
    if suffix is None:
        suffix = "" if "" in by_suffix else min(by_suffix, default="")
        if "" not in by_suffix and len(by_suffix) > 1:
            raise UserError(f"{folder} has checkpoints of {', '.join(sorted(by_suffix))}: give --checkpoint-suffix")
    found = []
    for epoch, updates, file in sorted(by_suffix.get(suffix, ()), reverse=True):
        if by_update and updates == math.inf:
            updates = _updates_of_interval(file)
        count = updates if by_update else epoch
        if count is not None and (upper_bound is None or count <= upper_bound):
            found.append(file)
        if len(found) == number:
            return found[::-1]
    kind = "update" if by_update else "epoch"
    limit = "" if upper_bound is None else f" up to {upper_bound}"
    others = sorted(set(by_suffix) - {suffix})
    raise UserError(
        f"{folder} has {len(found)} {kind} checkpoints{' ending in ' + suffix + '.pt' if suffix else ''}{limit}, "
        f"{number} are needed{'; --checkpoint-suffix may also be ' + ', '.join(others) if others else ''}"
    )


def _updates_of_interval(file: Path) -> int | None:
    """Returns the updates of an epoch's checkpoint; None where `--save-interval-updates` would not have saved it."""
    state = load_state(str(file))
    try:
        updates = int(state["optimizer_history"][-1]["num_updates"])
        interval = int(state["cfg"]["checkpoint"]["save_interval_updates"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None  # not written by fairseq-train
    return updates if interval > 0 and updates > 0 and updates % interval == 0 else None
