"""The dictionaries of a translation model, and what fairseq asks of its task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from fairseq.data import Dictionary, data_utils
from torch import Tensor

from fairseq_mos.errors import UserError
from fairseq_mos.families.texts import Texts
from fairseq_mos.paths import is_file, is_folder

TABLES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Names of the source's and of the target's embedding among a model's weights."""


class TranslationTexts(Texts):
    """Texts of two languages."""

    FAMILY = "translation"
    REQUIRED = ("source_lang", "target_lang")

    @classmethod
    def find(cls, state, path, data=None):
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
                f"{path} does not say its languages, and {looked} is no folder that fairseq-preprocess wrote, which "
                "would: give it with --data"
            )
        raise UserError(
            f"dict.{languages[0]}.txt and dict.{languages[1]}.txt of {path} are not in {looked}: give their folder "
            "(--data, data= in Python)"
        )

    @property
    def languages(self) -> tuple[str, str]:
        """Codes of the source and of the target language."""
        values = self.to_dict()
        return tuple(values[name] for name in self.REQUIRED)


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


def task_of(
    dictionaries: tuple[Path, Path], weights: Mapping[str, Tensor], where: str, options: Mapping | None = None
) -> SimpleNamespace:
    """Returns what fairseq's `build_model` asks of a task: the dictionaries of a model.

    Args:
        dictionaries: their files.
        weights: the model's; an embedding that both sides share may stand once.
        where: they come from.
        options: of the task that the model was trained for.

    Raises:
        UserError: the weights are of no translation model, or the dictionaries do not fit them.
    """
    found = []
    for file, name in zip(dictionaries, (TABLES[0], TABLES[1] if TABLES[1] in weights else TABLES[0])):
        if name not in weights:
            raise UserError(f"{where} is of no translation model: {name} is missing")
        if weights[name].dim() != 2:
            shape = tuple(weights[name].shape)
            raise UserError(f"{where}: {name} is of shape {shape}, expected a table of entries by width")
        found.append(load_dictionary(file, weights, name, options))
    return SimpleNamespace(source_dictionary=found[0], target_dictionary=found[1])


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
