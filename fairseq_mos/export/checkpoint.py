"""Extraction: one architecture of a supernet as an ordinary fairseq checkpoint of `mos_subnet`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig
from fairseq.tasks.translation import TranslationConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.files import atomic_write
from fairseq_mos.models.config import MosSubnetConfig
from fairseq_mos.models.loading import find_dictionaries, load_state, load_supernet

SUBWORD_FILES = {"sentencepiece.bpe.model": "sentencepiece", "bpecodes": "subword_nmt", "code": "subword_nmt"}
"""Name of a subword model's file beside a checkpoint -> fairseq's name of its kind."""


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
    write_checkpoint(output, subnet, config, (state.get("optimizer_history") or [{}])[-1])
    copy_beside([*dictionaries, *find_subwords(dictionaries[0].parent)], Path(output).parent)
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
    with atomic_write(output, "wb") as stream:
        torch.save(state, stream)


def copy_beside(files: Iterable[Path], folder: Path) -> None:
    """Copies files into a folder, whole or not at all.

    Raises:
        UserError: it cannot be written to.
    """
    for file in files:
        copy = folder / file.name
        if file.resolve() != copy.resolve():
            with atomic_write(copy, "wb") as stream, open(file, "rb") as source:
                shutil.copyfileobj(source, stream)


def find_subwords(folder: Path) -> list[Path]:
    """Returns the subword model in a folder, under the names that fairseq's hub interface knows; or nothing."""
    return [folder / name for name in SUBWORD_FILES if (folder / name).is_file()]


def subnet_config(cfg: DictConfig, architecture: Architecture, space: SearchSpace) -> dict:
    """Returns the supernet's configuration with model, task and criterion of a subnet in place."""
    config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    config["model"] = {
        **_common(config["model"], MosSubnetConfig),
        "_name": "mos_subnet",
        "architecture_definition": architecture.to_json(),
        "search_space_definition": space.to_json(),
    }
    config["task"] = {**_common(config["task"], TranslationConfig), "_name": "translation"}
    config["criterion"] = {
        **_common(config["criterion"] or {}, LabelSmoothedCrossEntropyCriterionConfig),
        "_name": "label_smoothed_cross_entropy",
    }
    return config


def _common(config: dict, dataclass_type: type) -> dict:
    names = {field.name for field in fields(dataclass_type)}
    return {name: value for name, value in config.items() if name in names}
