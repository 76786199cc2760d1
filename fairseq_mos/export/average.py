"""Averaging the weights of checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import plain_config, save_state
from fairseq_mos.models.loading import load_state


def average_checkpoints(paths: list[str | Path], output: str | Path) -> None:
    """Writes the last of `paths` with the mean of all their weights.

    Floating-point tensors are summed in double precision; others must agree.

    Args:
        paths: fairseq checkpoints of one model.
        output: checkpoint to write.

    Raises:
        UserError: no or unusable checkpoints, or checkpoints of different models.
    """
    if not paths:
        raise UserError("no checkpoints to average")
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


def last_checkpoints(folder: str, number: int, by_update: bool, upper_bound: int | None = None) -> list[Path]:
    """Returns the last `number` epoch (`checkpointE.pt`) or update (`checkpoint_E_U.pt`) checkpoints.

    Args:
        folder: where fairseq-train saved them.
        number: how many.
        by_update: update checkpoints instead of epoch checkpoints.
        upper_bound: ignore those above this epoch or update.

    Raises:
        UserError: fewer than `number` exist.
    """
    if number < 1:
        raise UserError(f"the number of checkpoints to average must be 1 or more, not {number}")
    pattern = re.compile(r"checkpoint_\d+_(\d+)\.pt" if by_update else r"checkpoint(\d+)\.pt")
    found = []
    for file in Path(folder).glob("checkpoint*.pt"):
        match = pattern.fullmatch(file.name)
        if match and (upper_bound is None or int(match.group(1)) <= upper_bound):
            found.append((int(match.group(1)), file))
    if len(found) < number:
        kind = "update" if by_update else "epoch"
        raise UserError(f"{folder} has {len(found)} {kind} checkpoints, {number} are needed")
    return [file for _, file in sorted(found)[-number:]]
