"""`arch.json`: what a folder with an exported model says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fairseq.dataclass.configs import DatasetConfig, GenerationConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq_mos.arch import Architecture
from fairseq_mos.documents import read_json, show
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.families.texts import Texts
from fairseq_mos.files import atomic_write
from fairseq_mos.formats import EXPORTERS
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.content import check_options, with_defaults, without_interpolations
from fairseq_mos.paths import is_file

ABOUT = "arch.json"
_FORMAT = 1
_GENERAL = {"dataset": DatasetConfig, "generation": GenerationConfig}


@dataclass(frozen=True)
class About:
    """The description of an exported model.

    Attributes:
        name: what to call it.
        form: the name of its format.
        architecture: its sizes.
        config: fairseq's whole configuration, plain.
        model_config: the model's part of it.
        data: the files beside the weights.
    """

    name: str
    form: str
    architecture: Architecture
    config: dict
    model_config: DictConfig
    data: Texts

    def bundle(self, model) -> Bundle:
        """Returns the model with its surroundings."""
        return Bundle(model.eval(), self.config, self.data, self.name)


def write_about(bundle: Bundle, folder: Path, form: str) -> None:
    """Writes the description; do that last: a folder without it is not taken for a model."""
    about = {
        "fairseq_mos": _FORMAT,
        "format": form,
        "name": bundle.name,
        **bundle.data.to_dict(),
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
    architecture = Architecture.from_dict(_get(path, values, "architecture", dict), f"{path}: architecture")
    family = family_of(architecture)
    texts = family.texts()
    for name in texts.REQUIRED:
        _get(path, values, name, str)
    forms = tuple(row.name for row in EXPORTERS.values() if row.weights)
    # Folders of the first versions do not say it.
    form = values.get("format", "torch-export" if is_file(folder / "step.pt2") else "safetensors")
    for name, allowed in {"format": forms, **texts.choices()}.items():
        value = form if name == "format" else values.get(name)
        if value not in allowed:
            raise UserError(f"{path}: {name} is {value!r}, allowed: {', '.join(map(_json, allowed))}")
    config = without_interpolations(_get(path, values, "config", dict))
    parts = {name: kind for name, (_, kind) in family.parts().items() if name != "criterion"}
    groups = {name: _group(path, config, name, kind) for name, kind in {**parts, **_GENERAL}.items()}
    for name, kind in _GENERAL.items():
        config[name] = with_defaults(config[name], kind)
    return About(
        name=str(values.get("name", folder.name)),
        form=form,
        data=texts.of_folder(folder, values),
        architecture=architecture,
        config=config,
        model_config=groups["model"],
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
