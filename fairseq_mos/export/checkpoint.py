"""Extraction: one architecture of a supernet as an ordinary fairseq checkpoint of `mos_subnet`."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fairseq_mos.arch.select import resolve
from fairseq_mos.cost.measured import count_parameters
from fairseq_mos.errors import UserError
from fairseq_mos.families.texts import find_subwords
from fairseq_mos.files import atomic_write, staging
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.loading import save_state
from fairseq_mos.models.opening import open_model, subnet_config
from fairseq_mos.paths import is_file, is_folder


@dataclass(frozen=True)
class Extracted:
    """What an extraction reports; parameters are counted once where tensors are shared."""

    supernet_params: int
    subnet_params: int
    subnet_params_no_embed: int
    space: str
    routing: str
    digest: str


def extract_checkpoint(path: str, architecture: str, output: str, data: str | None = None) -> Extracted:
    """Writes the dense subnet of an architecture.

    The result is self-contained (it embeds the architecture and its space), has neither experts nor routers,
    and depends on the input alone: extracting twice gives the same tensors.

    Args:
        path: supernet checkpoint; may be an averaged one.
        architecture: YAML file, `largest`, `smallest` or `random:SEED`.
        output: checkpoint to write; dictionaries and, if there is one, the subword model are copied beside it.
        data: folder with the dictionaries, see :func:`fairseq_mos.models.opening.open_model`.

    Raises:
        UserError: unusable input or an unwritable output.
    """
    opened = open_model(path, data)
    space, dictionaries, supernet = opened.space, opened.dictionaries, opened.model
    chosen = resolve(space, architecture)
    subnet = supernet.extract(chosen)
    files = [*dictionaries, *find_subwords(dictionaries[0].parent)]
    config = subnet_config(opened.state["cfg"], chosen, space)
    publish(output, subnet, config, files, (opened.state.get("optimizer_history") or [{}])[-1])
    counted = count_parameters(subnet)
    return Extracted(
        supernet_params=sum(p.numel() for p in supernet.parameters()),
        subnet_params=counted.total,
        subnet_params_no_embed=counted.no_embed,
        space=space.name,
        routing=str(supernet.cfg.routing),
        digest=chosen.digest(),
    )


def write(bundle: Bundle, output: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes a dense model as a checkpoint, see :func:`publish`."""
    return publish(output, bundle.model, bundle.config, bundle.data.files(), check=check)


def write_checkpoint(output: str | Path, model: nn.Module, config: dict, history: dict | None = None) -> None:
    """Writes a model as a fairseq checkpoint without an optimizer's state.

    Args:
        output: the file.
        model: a dense model.
        config: fairseq's whole configuration, plain.
        history: last entry of the `optimizer_history` that the weights come from.

    Raises:
        UserError: it cannot be written.
    """
    history = history or {}
    state = {
        "args": None,
        "cfg": config,
        "model": model.state_dict(),
        # So that fairseq-train --restore-file starts at the first epoch without further flags.
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0, "shuffle": True}},
        "optimizer_history": [
            {
                "criterion_name": "LabelSmoothedCrossEntropyCriterion",
                "optimizer_name": history.get("optimizer_name", "FairseqAdam"),
                "lr_scheduler_state": {},
                "num_updates": history.get("num_updates", 0),
            }
        ],
        "last_optimizer_state": None,
        "task_state": {},
    }
    save_state(state, output)


def publish(
    output: str | Path,
    model: nn.Module,
    config: dict,
    files: Iterable[Path],
    history: dict | None = None,
    check: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Writes a checkpoint, and dictionaries and subword model beside it.

    Args:
        output: the file.
        model: a dense model.
        config: fairseq's whole configuration, plain.
        files: what belongs beside it.
        history: see :func:`write_checkpoint`.
        check: called with the checkpoint before it is put in its place; an error leaves all as it was.

    Returns:
        What was written.

    Raises:
        UserError: `output` cannot be written, or files of that name, but with other content, are there already:
            they are another model's.
    """
    output, files = Path(output), list(files)
    if is_folder(output):
        raise UserError(f"cannot write {output}: it is a folder")
    for file in files:
        there = output.parent / file.name
        if is_folder(there):
            raise UserError(f"cannot write {there}: it is a folder")
        if is_file(there) and not filecmp.cmp(file, there, shallow=False):
            raise UserError(f"{there} exists and differs from {file}: give an --output in another folder")
    with staging(output) as stage:
        write_checkpoint(stage / output.name, model, config, history)
        copy_beside(files, stage)
        if check is not None:
            check(stage / output.name)
        names = [*(file.name for file in files), output.name]
        for name in names:
            os.replace(stage / name, output.parent / name)
    return [output, *(output.parent / file.name for file in files)]


def copy_beside(files: Iterable[Path], folder: Path) -> None:
    """Copies files into a folder, whole or not at all.

    Raises:
        UserError: it cannot be written to.
    """
    for file in files:
        with open(file, "rb") as source, atomic_write(folder / file.name, "wb") as stream:
            shutil.copyfileobj(source, stream)
