"""A dense translation model with all that it needs to run: what the exporters and the hub work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fairseq.data import Dictionary
from torch import nn

from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import SUBWORD_FILES
from fairseq_mos.models.loading import load_dictionary


@dataclass(frozen=True)
class Bundle:
    """A dense model and its surroundings.

    Attributes:
        model: a `mos_subnet`, or fairseq's stock `transformer`, in eval mode.
        config: fairseq's whole configuration, plain; its task and model are the dense model's.
        dictionaries: files of the source and of the target dictionary.
        subwords: the subword model's file, or None.
        tokenizer: fairseq's name of the tokenizer that comes before the subwords, or None.
        name: what to call it.

    Raises:
        UserError: a file whose name OmegaConf would resolve.
    """

    model: nn.Module
    config: dict
    dictionaries: tuple[Path, Path]
    subwords: Path | None
    tokenizer: str | None
    name: str

    def __post_init__(self) -> None:
        for file in self.files():
            # fairseq hands these names, of which languages are a part, to OmegaConf.
            if "${" in str(file):
                raise UserError(f"{file}: a name with ${{ could be resolved, which no file may ask for: rename it")

    @property
    def languages(self) -> tuple[str, str]:
        """Codes of the source and of the target language."""
        return tuple(file.name.removeprefix("dict.").removesuffix(".txt") for file in self.dictionaries)

    @property
    def subword_kind(self) -> str | None:
        """fairseq's name of the subwords' kind, such as `sentencepiece`."""
        return SUBWORD_FILES[self.subwords.name] if self.subwords else None

    def with_tokenizer(self, name: str) -> Bundle:
        """Returns the same with a tokenizer, which exported configurations name as well."""
        return replace(self, tokenizer=name, config={**self.config, "tokenizer": {"_name": name}})

    def files(self) -> list[Path]:
        """What lies beside the weights: dictionaries and subword model."""
        return [*self.dictionaries, *([self.subwords] if self.subwords else [])]


def load_dictionaries(files: tuple[Path, Path]) -> tuple[Dictionary, Dictionary]:
    """Loads the source and the target dictionary.

    Raises:
        UserError: one of them is missing or damaged.
    """
    return load_dictionary(files[0]), load_dictionary(files[1])
