"""What stands between raw text and a model's tokens: dictionaries, subword model and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_file

SUBWORD_FILES = {
    "sentencepiece.bpe.model": "sentencepiece",
    "bpecodes": "subword_nmt",
    "code": "subword_nmt",
    "vocab.txt": "bert",
}
"""Name of a subword model's file beside a checkpoint -> fairseq's name of its kind."""

BESIDE = ("dict.*.txt", "dict.txt", *SUBWORD_FILES)
"""Patterns of the names of what lies beside weights."""


@dataclass(frozen=True)
class Texts:
    """How a model reads and writes text; a family subclasses it.

    Attributes:
        FAMILY: the family's name.
        REQUIRED: what an exported folder says for each of its dictionaries to be found.
        dictionaries: their files.
        subwords: the subword model's file, or None.
        tokenizer: fairseq's name of the tokenizer that comes before the subwords, or None.

    Raises:
        UserError: a file whose name OmegaConf would resolve.
    """

    FAMILY: ClassVar[str]
    REQUIRED: ClassVar[tuple[str, ...]] = ()

    dictionaries: tuple[Path, ...]
    subwords: Path | None
    tokenizer: str | None

    def __post_init__(self) -> None:
        for file in self.files():
            # fairseq hands these names, of which languages are a part, to OmegaConf.
            if "${" in str(file):
                raise UserError(f"{file}: a name with ${{ could be resolved, which no file may ask for: rename it")

    @classmethod
    def find(cls, state: dict, path: str, data: str | None = None) -> tuple[Path, ...]:
        """Finds the dictionaries of a checkpoint.

        Args:
            state: the loaded checkpoint.
            path: its file.
            data: folder to look in; by default beside the checkpoint, then where it was trained.

        Raises:
            UserError: they are in none of these folders.
        """
        raise NotImplementedError

    @classmethod
    def of_checkpoint(cls, path: str, dictionaries: tuple[Path, ...], data: str | None, config: Mapping) -> Texts:
        """Returns what goes with a checkpoint.

        Args:
            path: the checkpoint.
            dictionaries: see :meth:`find`.
            data: folder of the subword model; by default the checkpoint's, then the dictionaries'.
            config: fairseq's whole configuration, plain.
        """
        folders = [Path(data)] if data else [Path(path).parent, dictionaries[0].parent]
        subwords = next((file for folder in folders for file in find_subwords(folder)), None)
        tokenizer = config.get("tokenizer")
        return cls(dictionaries, subwords, tokenizer.get("_name") if isinstance(tokenizer, dict) else tokenizer)

    @classmethod
    def of_folder(cls, folder: Path, values: Mapping) -> Texts:
        """Returns what lies in an exported folder.

        Args:
            folder: the folder.
            values: what :meth:`to_dict` gave when it was written, checked by :attr:`REQUIRED` and :meth:`choices`.

        Raises:
            UserError: a file is missing.
        """
        subwords = folder / values["subwords"] if values.get("subwords") else None
        found = cls(tuple(folder / name for name in cls.file_names(values)), subwords, values.get("tokenizer"))
        for file in found.files():
            if not is_file(file):
                raise UserError(f"{file} is missing: {folder} is incomplete")
        return found

    @classmethod
    def file_names(cls, values: Mapping) -> list[str]:
        """Returns the names of the dictionaries in an exported folder, from what :meth:`to_dict` gave."""
        return [f"dict.{values[name]}.txt" for name in cls.REQUIRED]

    @staticmethod
    def choices() -> dict[str, tuple]:
        """Returns the other names that :meth:`to_dict` gives, and the values that each may have."""
        from fairseq.data import encoders

        return {"subwords": (None, *SUBWORD_FILES), "tokenizer": (None, *encoders.TOKENIZER_REGISTRY)}

    def to_dict(self) -> dict[str, str | None]:
        """Returns what an exported folder says of its files."""
        named = (file.name.removeprefix("dict.").removesuffix(".txt") for file in self.dictionaries)
        subwords = self.subwords.name if self.subwords else None
        return {**dict(zip(self.REQUIRED, named)), "tokenizer": self.tokenizer, "subwords": subwords}

    @property
    def subword_kind(self) -> str | None:
        """fairseq's name of the subwords' kind, such as `sentencepiece`."""
        return SUBWORD_FILES[self.subwords.name] if self.subwords else None

    def files(self) -> list[Path]:
        """What lies beside the weights: dictionaries and subword model."""
        return [*self.dictionaries, *([self.subwords] if self.subwords else [])]


def find_subwords(folder: Path) -> list[Path]:
    """Returns the subword model in a folder, under the names that fairseq's hub interface knows; or nothing."""
    return [folder / name for name in SUBWORD_FILES if is_file(folder / name)]
