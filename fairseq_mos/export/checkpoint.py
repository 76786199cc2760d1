"""Extraction: one architecture of a supernet as an ordinary fairseq checkpoint of `mos_subnet`."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig
from fairseq.tasks.translation import TranslationConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write, staging
from fairseq_mos.models.config import SIZES, MosSubnetConfig
from fairseq_mos.models.loading import find_dictionaries, load_state, load_supernet
from fairseq_mos.paths import is_file, is_folder

SUBWORD_FILES = {"sentencepiece.bpe.model": "sentencepiece", "bpecodes": "subword_nmt", "code": "subword_nmt"}
"""Name of a subword model's file beside a checkpoint -> fairseq's name of its kind."""


BESIDE = ("dict.*.txt", *SUBWORD_FILES)
"""Patterns of the names of what lies beside weights."""


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
        data: folder with the dictionaries, see :func:`fairseq_mos.models.loading.find_dictionaries`.

    Raises:
        UserError: unusable input or an unwritable output.
    """
    state = load_state(path)
    dictionaries = find_dictionaries(state, path, data)
    supernet = load_supernet(state, path, dictionaries)
    chosen = resolve(supernet.space, architecture)
    subnet = supernet.extract(chosen)
    tables = {id(subnet.encoder.embed_tokens.weight), id(subnet.decoder.embed_tokens.weight)}
    if subnet.decoder.output_projection is not None:
        tables.add(id(subnet.decoder.output_projection.weight))

    config = subnet_config(state["cfg"], chosen, supernet.space)
    files = [*dictionaries, *find_subwords(dictionaries[0].parent)]
    publish(output, subnet, config, files, (state.get("optimizer_history") or [{}])[-1])
    return Extracted(
        supernet_params=sum(p.numel() for p in supernet.parameters()),
        subnet_params=sum(p.numel() for p in subnet.parameters()),
        subnet_params_no_embed=sum(p.numel() for p in subnet.parameters() if id(p) not in tables),
        space=supernet.space.name,
        routing=str(supernet.cfg.routing),
        digest=chosen.digest(),
    )


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


def save_state(state: dict, output: str | Path) -> None:
    """Writes a checkpoint's content.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_write(output, "wb") as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:  # torch's own way to say that the disk is full
            raise UserError(f"cannot write {output}: {' '.join(str(error).split())[:160]}") from error


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


def find_subwords(folder: Path) -> list[Path]:
    """Returns the subword model in a folder, under the names that fairseq's hub interface knows; or nothing."""
    return [folder / name for name in SUBWORD_FILES if is_file(folder / name)]


def plain_config(cfg) -> dict:
    """Returns fairseq's configuration as plain values; options of legacy models, a namespace, included."""
    config = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    for name, value in config.items():
        if hasattr(value, "__dict__") and not isinstance(value, (dict, str)):
            config[name] = dict(vars(value))
    return without_interpolations(config)


def without_interpolations(config):
    """Leaves out the options whose text OmegaConf takes for more than text; their defaults take their place.

    What comes from a file must not be resolved: `${oc.env:SECRET}` would put a secret of whoever reads it into what
    he writes and shares. fairseq itself saves values that are resolved already.
    """
    if isinstance(config, dict):
        return {name: without_interpolations(value) for name, value in config.items() if not _special(value)}
    if isinstance(config, (list, tuple)):
        return [without_interpolations(value) for value in config if not _special(value)]
    return config


def with_defaults(options: dict | None, kind: type) -> dict:
    """Returns options of fairseq's configuration, plain, with the defaults of those that a file does not give."""
    return {**plain_config(OmegaConf.structured(kind)), **(options or {})}


def _special(value) -> bool:
    return isinstance(value, str) and ("${" in value or value == "???")


def subnet_config(cfg: DictConfig, architecture: Architecture, space: SearchSpace) -> dict:
    """Returns the supernet's configuration with model, task and criterion of a subnet in place."""
    config = plain_config(cfg)
    config["model"] = {
        **_common(config["model"], MosSubnetConfig),
        # Super sizes, if they were given, are not those of the subnet.
        **dict.fromkeys(SIZES),
        "_name": "mos_subnet",
        "architecture_definition": architecture.to_json(),
        "search_space_definition": space.to_json(),
    }
    config["task"] = {**_common(config["task"], TranslationConfig), "_name": "translation"}
    config["criterion"] = {
        **_common(config.get("criterion") or {}, LabelSmoothedCrossEntropyCriterionConfig),
        "_name": "label_smoothed_cross_entropy",
    }
    return config


def _common(config: dict, dataclass_type: type) -> dict:
    names = {field.name for field in fields(dataclass_type)}
    return {name: value for name, value in config.items() if name in names}
