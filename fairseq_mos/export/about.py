"""`arch.json`: what a folder with an exported model says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fairseq.data import encoders
from fairseq.dataclass.configs import DatasetConfig, GenerationConfig
from fairseq.tasks.translation import TranslationConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq_mos.arch import Architecture
from fairseq_mos.documents import read_json, show
from fairseq_mos.errors import UserError
from fairseq_mos.export.bundle import Bundle
from fairseq_mos.export.checkpoint import SUBWORD_FILES, with_defaults, without_interpolations
from fairseq_mos.files import atomic_write
from fairseq_mos.models.config import MosSubnetConfig
from fairseq_mos.models.content import check_options
from fairseq_mos.paths import is_file

ABOUT = "arch.json"
FORMS = {"safetensors": "model.safetensors", "torch-export": "weights.safetensors"}
"""Format -> name of the file with the weights; they differ, so that no format's folder passes for the other's."""

_FORMAT = 1
_GROUPS = {
    "model": MosSubnetConfig,
    "task": TranslationConfig,
    "dataset": DatasetConfig,
    "generation": GenerationConfig,
}


@dataclass(frozen=True)
class About:
    """The description of an exported model.

    Attributes:
        name: what to call it.
        form: its format, a key of :data:`FORMS`.
        architecture: its sizes.
        config: fairseq's whole configuration, plain.
        model_config: of a `mos_subnet`.
        dictionaries: files of the source and of the target dictionary.
        subwords: the subword model's file, or None.
        tokenizer: fairseq's name of the tokenizer, or None.
    """

    name: str
    form: str
    architecture: Architecture
    config: dict
    model_config: DictConfig
    dictionaries: tuple[Path, Path]
    subwords: Path | None
    tokenizer: str | None

    def bundle(self, model) -> Bundle:
        """Returns the model with its surroundings."""
        return Bundle(model.eval(), self.config, self.dictionaries, self.subwords, self.tokenizer, self.name)


def write_about(bundle: Bundle, folder: Path, form: str) -> None:
    """Writes the description; do that last: a folder without it is not taken for a model."""
    source, target = bundle.languages
    about = {
        "fairseq_mos": _FORMAT,
        "format": form,
        "name": bundle.name,
        "source_lang": source,
        "target_lang": target,
        "tokenizer": bundle.tokenizer,
        "subwords": bundle.subwords.name if bundle.subwords else None,
        "architecture": bundle.model.architecture.to_dict(),
        "config": bundle.config,
    }
    with atomic_write(folder / ABOUT) as stream:
        json.dump(about, stream, indent=2, default=str)
        stream.write("\n")


def read_about(folder: Path) -> About:
    """Reads a folder's description.

    Raises:
        UserError: it is missing or damaged, or a file that it names is missing.
    """
    path = folder / ABOUT
    values = _parse(path)
    languages = _get(path, values, "source_lang", str), _get(path, values, "target_lang", str)
    subwords, tokenizer = values.get("subwords"), values.get("tokenizer")
    for name, value, allowed in (
        ("format", values.get("format", "safetensors"), FORMS),
        ("subwords", subwords, (None, *SUBWORD_FILES)),
        ("tokenizer", tokenizer, (None, *encoders.TOKENIZER_REGISTRY)),
    ):
        if value not in allowed:
            raise UserError(f"{path}: {name} is {value!r}, allowed: {', '.join(map(_json, allowed))}")
    config = without_interpolations(_get(path, values, "config", dict))
    groups = {name: _group(path, config, name, kind) for name, kind in _GROUPS.items()}
    for name in ("dataset", "generation"):
        config[name] = with_defaults(config[name], _GROUPS[name])
    dictionaries = tuple(folder / f"dict.{language}.txt" for language in languages)
    for file in (*dictionaries, *([folder / subwords] if subwords else [])):
        if not is_file(file):
            raise UserError(f"{file} is missing: {folder} is incomplete")
    return About(
        name=str(values.get("name", folder.name)),
        # Folders of the first versions do not say it.
        form=values.get("format", "torch-export" if is_file(folder / "step.pt2") else "safetensors"),
        architecture=Architecture.from_dict(_get(path, values, "architecture", dict), f"{path}: architecture"),
        config=config,
        model_config=groups["model"],
        dictionaries=dictionaries,
        subwords=folder / subwords if subwords else None,
        tokenizer=tokenizer,
    )


def _json(value) -> str:
    return "null" if value is None else str(value)


def _get(path: Path, values: dict, name: str, kind: type, place: str = ""):
    value = values.get(name)
    if not isinstance(value, kind):
        found = f"is {value!r}"[:60] if name in values else "is missing"
        what = {str: "text", dict: "an object"}[kind]
        raise UserError(f"{path}: {place}{name} {found}, expected {what}: export the model anew")
    return value


def _group(path: Path, config: dict, name: str, kind: type) -> DictConfig:
    """Returns a group of fairseq's configuration, checked, its missing options filled in."""
    given = _get(path, config, name, dict, "config.")
    known = OmegaConf.structured(kind)
    if name == "model":
        check_options(given, f"{path}: config.model.")
    try:
        return OmegaConf.merge(known, {key: value for key, value in given.items() if key in known})
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: config.{name}.{error.full_key}: {str(error).splitlines()[0]}") from error


def _parse(path: Path) -> dict:
    try:
        values = read_json(path, "description")
    except UserError as error:
        raise UserError(f"{error}; expected a folder that fairseq-mos export wrote") from None
    found = values.get("fairseq_mos")
    if found != _FORMAT:
        raise UserError(f"{path}: fairseq_mos is {show(found)}, allowed: {_FORMAT}")
    return values
