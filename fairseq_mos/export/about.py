"""`arch.json`: what a folder with an exported model says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.export.bundle import Bundle
from fairseq_mos.export.checkpoint import SUBWORD_FILES
from fairseq_mos.files import atomic_write

ABOUT = "arch.json"
_FORMAT = 1


@dataclass(frozen=True)
class About:
    """The description of an exported model.

    Attributes:
        name: what to call it.
        architecture: its sizes.
        config: fairseq's whole configuration, plain.
        dictionaries: files of the source and of the target dictionary.
        subwords: the subword model's file, or None.
        tokenizer: fairseq's name of the tokenizer, or None.
    """

    name: str
    architecture: Architecture
    config: dict
    dictionaries: tuple[Path, Path]
    subwords: Path | None
    tokenizer: str | None

    def bundle(self, model) -> Bundle:
        """Returns the model with its surroundings."""
        return Bundle(model.eval(), self.config, self.dictionaries, self.subwords, self.tokenizer, self.name)


def write_about(bundle: Bundle, folder: Path) -> None:
    """Writes the description; do that last: a folder without it is not taken for a model."""
    source, target = bundle.languages
    about = {
        "fairseq_mos": _FORMAT,
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
    try:
        source, target, subwords = values["source_lang"], values["target_lang"], values["subwords"]
        config = {**values["config"], "model": dict(values["config"]["model"]), "task": dict(values["config"]["task"])}
        architecture = Architecture.from_dict(values["architecture"], str(path))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: {error} is missing or of the wrong kind: export the model anew") from error
    if subwords is not None and subwords not in SUBWORD_FILES:
        raise UserError(f"{path}: subwords is {subwords!r}, allowed: {', '.join(SUBWORD_FILES)} or null")
    dictionaries = (folder / f"dict.{source}.txt", folder / f"dict.{target}.txt")
    for file in (*dictionaries, *([folder / subwords] if subwords else [])):
        if not file.is_file():
            raise UserError(f"{file} is missing: {folder} is incomplete")
    return About(
        name=str(values.get("name", folder.name)),
        architecture=architecture,
        config=config,
        dictionaries=dictionaries,
        subwords=folder / subwords if subwords else None,
        tokenizer=values.get("tokenizer"),
    )


def _parse(path: Path) -> dict:
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot read {path}: {reason}; expected a folder that fairseq-mos export wrote") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    found = values.get("fairseq_mos") if isinstance(values, dict) else None
    if found != _FORMAT:
        raise UserError(f"{path}: fairseq_mos is {found}, allowed: {_FORMAT}")
    return values
