"""The dictionary of a masked language model, and what fairseq asks of its task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mos.errors import UserError
from fairseq_mos.families.texts import Texts
from fairseq_mos.models.masked_lm import POSITIONS, TABLE
from fairseq_mos.paths import is_file

FILE = "dict.txt"
"""Name of the dictionary."""

MASK = "<mask>"
"""The entry that fairseq's tasks add to what the file holds."""


class MaskedLMTexts(Texts):
    """Text of one language, or of many with one dictionary."""

    FAMILY = "masked_lm"

    @classmethod
    def find(cls, state, path, data=None):
        trained_in = (state["cfg"].task.get("data") or "").split(":")[0]
        folders = [Path(data)] if data else [Path(path).parent, Path(trained_in)]
        # Data of sentence_prediction have it a level below.
        for file in (folder / name for folder in folders for name in (FILE, f"input0/{FILE}")):
            if is_file(file):
                return (file,)
        looked = " or ".join(map(str, folders))
        raise UserError(f"{FILE} of {path} is not in {looked}: give its folder (--data, data= in Python)")

    @classmethod
    def file_names(cls, values):
        return [FILE]


def load_dictionary(file: str | Path, weights: Mapping[str, Tensor] | None = None) -> Dictionary:
    """Loads a dictionary, with the mask.

    Args:
        file: the dictionary.
        weights: of a model, whose embedding must have a row for each entry.

    Raises:
        UserError: it is missing or damaged, or has another number of entries than the embedding.
    """
    dictionary = Dictionary.load(str(file))
    if dictionary.index(MASK) == dictionary.unk():
        dictionary.add_symbol(MASK)
    rows = len(dictionary) if weights is None else len(weights[TABLE])
    if rows != len(dictionary):
        raise UserError(f"{file} has {len(dictionary)} entries with {MASK}, but the model was trained with {rows}")
    return dictionary


def task_of(dictionaries: tuple[Path, ...], weights: Mapping[str, Tensor], where: str) -> SimpleNamespace:
    """Returns what fairseq's `build_model` asks of a task: the dictionary of a model, and its longest input.

    Args:
        dictionaries: the file.
        weights: the model's.
        where: they come from.

    Raises:
        UserError: the weights are of no masked language model, or the dictionary does not fit them.
    """
    for name in (TABLE, POSITIONS):
        if name not in weights:
            raise UserError(f"{where} is of no masked language model: {name} is missing")
        if weights[name].dim() != 2:
            shape = tuple(weights[name].shape)
            raise UserError(f"{where}: {name} is of shape {shape}, expected a table of entries by width")
    dictionary = load_dictionary(dictionaries[0], weights)
    positions = len(weights[POSITIONS]) - dictionary.pad() - 1
    return task_with(dictionary, positions)


def task_with(dictionary: Dictionary, positions: int) -> SimpleNamespace:
    """Returns what fairseq's `build_model` asks of a task."""
    return SimpleNamespace(
        source_dictionary=dictionary,
        target_dictionary=dictionary,
        dictionary=dictionary,
        max_positions=lambda: positions,
        cfg=SimpleNamespace(max_positions=positions),
    )


def made_up_dictionary(entries: int) -> Dictionary:
    """Returns a dictionary of `entries` entries, the special symbols and the mask among them.

    Raises:
        UserError: fewer entries than these and a word.
    """
    result = Dictionary()
    if entries <= len(result) + 1:
        raise UserError(f"--vocabulary is {entries}, allowed: {len(result) + 2} or more entries")
    for index in range(entries - len(result) - 1):
        result.add_symbol(f"word{index}")
    result.add_symbol(MASK)
    return result
