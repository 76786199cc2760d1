"""What stands between raw text and a translation model's tokens: dictionaries, subword model and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from fairseq.data import Dictionary, data_utils, encoders
from torch import Tensor

from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_file, is_folder

SUBWORD_FILES = {"sentencepiece.bpe.model": "sentencepiece", "bpecodes": "subword_nmt", "code": "subword_nmt"}
"""Name of a subword model's file beside a checkpoint -> fairseq's name of its kind."""

BESIDE = ("dict.*.txt", *SUBWORD_FILES)
"""Patterns of the names of what lies beside weights."""

TABLES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Names of the source's and of the target's embedding among a model's weights."""


@dataclass(frozen=True)
class Texts:
    """How a model reads and writes text.

    Attributes:
        dictionaries: files of the source and of the target dictionary.
        subwords: the subword model's file, or None.
        tokenizer: fairseq's name of the tokenizer that comes before the subwords, or None.

    Raises:
        UserError: a file whose name OmegaConf would resolve.
    """

    FAMILY: ClassVar[str] = "translation"
    REQUIRED: ClassVar[tuple[str, ...]] = ("source_lang", "target_lang")

    dictionaries: tuple[Path, Path]
    subwords: Path | None
    tokenizer: str | None

    def __post_init__(self) -> None:
        for file in self.files():
            # fairseq hands these names, of which languages are a part, to OmegaConf.
            if "${" in str(file):
                raise UserError(f"{file}: a name with ${{ could be resolved, which no file may ask for: rename it")

    @classmethod
    def of_checkpoint(cls, path: str, dictionaries: tuple[Path, Path], data: str | None, config: Mapping) -> Texts:
        """Returns what goes with a checkpoint.

        Args:
            path: the checkpoint.
            dictionaries: see :func:`find_dictionaries`.
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
        dictionaries = tuple(folder / f"dict.{values[name]}.txt" for name in cls.REQUIRED)
        found = cls(dictionaries, subwords, values.get("tokenizer"))
        for file in found.files():
            if not is_file(file):
                raise UserError(f"{file} is missing: {folder} is incomplete")
        return found

    @staticmethod
    def choices() -> dict[str, tuple]:
        """Returns the other names that :meth:`to_dict` gives, and the values that each may have."""
        return {"subwords": (None, *SUBWORD_FILES), "tokenizer": (None, *encoders.TOKENIZER_REGISTRY)}

    def to_dict(self) -> dict[str, str | None]:
        """Returns what an exported folder says of its files."""
        subwords = self.subwords.name if self.subwords else None
        return {**dict(zip(self.REQUIRED, self.languages)), "tokenizer": self.tokenizer, "subwords": subwords}

    @property
    def languages(self) -> tuple[str, str]:
        """Codes of the source and of the target language."""
        return tuple(file.name.removeprefix("dict.").removesuffix(".txt") for file in self.dictionaries)

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


def find_dictionaries(state: dict, path: str, data: str | None = None) -> tuple[Path, Path]:
    """Finds the source and target dictionaries of a checkpoint.

    Args:
        state: the loaded checkpoint.
        path: its file.
        data: folder to look in; by default beside the checkpoint, then where it was trained.

    Raises:
        UserError: they are in none of these folders.
    """
    if not state.get("cfg"):
        raise UserError(f"{path} is no checkpoint of a translation model")
    task = state["cfg"].task
    trained_in = (task.get("data") or "").split(":")[0]
    folders = [Path(data)] if data else [Path(path).parent, Path(trained_in)]
    languages = (task.get("source_lang"), task.get("target_lang"))
    pairs = task.get("lang_pairs")
    pairs = pairs.split(",") if isinstance(pairs, str) else pairs
    if None in languages and pairs and len(pairs) == 1 and str(pairs[0]).count("-") == 1:
        languages = tuple(str(pairs[0]).split("-"))
    for folder in folders:
        if None in languages and is_folder(folder):
            languages = data_utils.infer_language_pair(str(folder))
        files = [folder / f"dict.{language}.txt" for language in languages]
        if all(is_file(file) for file in files):
            return files[0], files[1]
    looked = " or ".join(map(str, folders))
    if None in languages:
        raise UserError(
            f"{path} does not say its languages, and {looked} is no folder that fairseq-preprocess wrote, which would: "
            "give it with --data"
        )
    raise UserError(
        f"dict.{languages[0]}.txt and dict.{languages[1]}.txt of {path} are not in {looked}: give their folder "
        "(--data, data= in Python)"
    )


def load_dictionary(
    file: str | Path, weights: Mapping[str, Tensor] | None = None, name: str = "", task: Mapping | None = None
) -> Dictionary:
    """Loads a dictionary.

    Args:
        file: the dictionary.
        weights: of a model, whose embedding must have a row for each entry.
        name: of that embedding, such as `encoder.embed_tokens.weight`.
        task: configuration of the task that the model was trained for, which may have added entries.

    Raises:
        UserError: it is missing or damaged, or has another number of entries than the embedding.
    """
    dictionary = Dictionary.load(str(file))
    rows = len(dictionary) if weights is None else len(weights[name])
    if rows > len(dictionary) and task is not None and task.get("_name") == "translation_multi_simple_epoch":
        _add_languages(dictionary, task)
    if rows != len(dictionary):
        raise UserError(f"{file} has {len(dictionary)} entries, but the model was trained with {rows}")
    return dictionary


def _add_languages(dictionary: Dictionary, task: Mapping) -> None:
    """Adds the entries that fairseq's multilingual task adds, one for each language and purpose."""
    from fairseq.data.multilingual.multilingual_utils import augment_dictionary

    pairs = task.get("lang_pairs") or []
    pairs = pairs.split(",") if isinstance(pairs, str) else pairs
    languages = task.get("langs") or sorted({language for pair in pairs for language in str(pair).split("-")})
    specs = task.get("langtoks_specs") or ["main"]
    style = task.get("lang_tok_style") or "multilingual"
    augment_dictionary(dictionary, list(languages), style, specs, task.get("extra_data"))


def task_of(dictionaries: tuple[Path, Path], state: dict, path: str) -> SimpleNamespace:
    """Returns what fairseq's `build_model` asks of a task: the dictionaries of a checkpoint's model.

    Raises:
        UserError: the checkpoint is of no translation model, or the dictionaries do not fit it.
    """
    weights = state["model"]
    if not state.get("cfg") or any(name not in weights for name in TABLES):
        raise UserError(f"{path} is no checkpoint of a translation model")
    for name in TABLES:
        if weights[name].dim() != 2:
            shape = tuple(weights[name].shape)
            raise UserError(f"{path}: {name} is of shape {shape}, expected a table of entries by width")
    task = state["cfg"].task
    source, target = (load_dictionary(file, weights, name, task) for file, name in zip(dictionaries, TABLES))
    return SimpleNamespace(source_dictionary=source, target_dictionary=target)


def task_of_weights(dictionaries: tuple[Path, Path], weights: Mapping[str, Tensor]) -> SimpleNamespace:
    """Like :func:`task_of`, for weights of an exported model, in which embeddings that the stacks share stand once.

    Raises:
        UserError: the dictionaries do not fit the weights.
    """
    names = (TABLES[0], TABLES[1] if TABLES[1] in weights else TABLES[0])
    source, target = (
        load_dictionary(file, weights if name in weights and weights[name].dim() else None, name)
        for file, name in zip(dictionaries, names)
    )
    return SimpleNamespace(source_dictionary=source, target_dictionary=target)


def made_up_dictionary(entries: int) -> Dictionary:
    """Returns a dictionary of `entries` entries, the special symbols among them.

    Raises:
        UserError: fewer entries than special symbols and a word.
    """
    result = Dictionary()
    if entries <= len(result):
        raise UserError(f"--vocabulary is {entries}, allowed: {len(result) + 1} or more entries")
    for index in range(entries - len(result)):
        result.add_symbol(f"word{index}")
    return result
