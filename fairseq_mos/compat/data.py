"""Binarised data and dictionaries that no model can be trained on are named in one line, before work starts."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError

_AGAIN = "run fairseq-preprocess again"
_MMAP_HEADER = "<9sQBQ"  # magic, version, type of the tokens, number of sentences


def _damaged(path: str, reason: object) -> UserError:
    return UserError(f"{path} is damaged ({' '.join(str(reason).split())[:160]}): {_AGAIN}")


def _check_mmap(path: str, words: int | None) -> None:
    """Checks data of fairseq-preprocess's default format.

    Args:
        path: of both files, without their endings.
        words: entries of the dictionary; None for what are no tokens.

    Raises:
        UserError: cut short, of two different data sets, or with tokens that the dictionary lacks.
    """
    import numpy as np
    from fairseq.data import indexed_dataset

    index, data = f"{path}.idx", f"{path}.bin"
    header = struct.calcsize(_MMAP_HEADER)
    with open(index, "rb") as stream:
        fields = stream.read(header)
    if len(fields) < header:
        raise _damaged(index, "it is cut short")
    magic, version, code, count = struct.unpack(_MMAP_HEADER, fields)
    if magic != indexed_dataset.MMapIndexedDataset.Index._HDR_MAGIC or version != 1:
        raise _damaged(index, "it does not begin like an index")
    if code not in indexed_dataset._code_to_dtype or os.path.getsize(index) != header + 12 * count:
        raise _damaged(index, f"its size is not that of {count:,} sentences")
    if count == 0 or os.path.getsize(data) == 0:
        raise UserError(f"{data} holds no sentences")
    dtype = np.dtype(indexed_dataset._code_to_dtype[code])
    sizes = np.fromfile(index, np.int32, count, offset=header).astype(np.int64) * dtype.itemsize
    begins = np.fromfile(index, np.int64, count, offset=header + 4 * count)
    end = int((begins + sizes).max())
    if sizes.min() < 0 or begins.min() < 0 or end > os.path.getsize(data):
        raise _damaged(data, f"its index speaks of {end:,} bytes, but it has {os.path.getsize(data):,}")
    if words is not None:
        _check_tokens(data, np.memmap(data, dtype, "r", shape=(end // dtype.itemsize,)), words)


def _check_tokens(data: str, tokens: Any, words: int, first: int = 0) -> None:
    low, high = int(tokens.min()) - first, int(tokens.max()) - first
    if low < 0 or high >= words:
        raise UserError(
            f"{data} holds token number {low if low < 0 else high}, but its dictionary has {words} entries: it was "
            f"made with another dictionary, or is damaged; {_AGAIN}"
        )


def _check_cached(path: str, dataset: Any, words: int | None) -> None:
    """The same for data of the older format (`--dataset-impl lazy` or `cached`), whose index has been read."""
    import numpy as np

    data = f"{path}.bin"
    if os.path.getsize(f"{path}.idx") != 48 + 8 * (2 * len(dataset) + 2 + len(dataset.sizes)):
        raise _damaged(f"{path}.idx", f"its size is not that of {len(dataset):,} sentences")
    end, size = int(dataset.data_offsets[-1]), os.path.getsize(data)
    if len(dataset) == 0 or size == 0:
        raise UserError(f"{data} holds no sentences")
    if end * dataset.element_size != size or int(dataset.sizes.sum()) != end:
        raise _damaged(data, f"its index speaks of {end * dataset.element_size:,} bytes, but it has {size:,}")
    if words is not None:
        tokens = np.memmap(data, dataset.dtype, "r", shape=(end,))
        _check_tokens(data, tokens, words, first=int(dataset.fix_lua_indexing))


def repair_damaged_data() -> bool:
    """Checks binarised data when it is opened.

    `make_dataset` (`data/indexed_dataset.py`) maps files into memory without looking: cut ones end in a
    traceback at their end, in the middle of an epoch, and tokens beyond the dictionary in one of torch's (on a
    GPU in a broken device). fairseq reads all of the files at this point anyway.
    """
    from fairseq.data import indexed_dataset

    def make(original: Callable) -> Callable:
        def make_dataset(path: str, impl: str, fix_lua_indexing: bool = False, dictionary: Any = None) -> Any:
            words = None if dictionary is None else len(dictionary)
            try:
                if impl == "mmap" and indexed_dataset.MMapIndexedDataset.exists(path):
                    _check_mmap(path, words)
                dataset = original(path, impl, fix_lua_indexing, dictionary)
                if isinstance(dataset, indexed_dataset.IndexedDataset):
                    _check_cached(path, dataset, words)
                return dataset
            except UserError:
                raise
            except OSError as error:
                raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
            except (AssertionError, KeyError, LookupError, MemoryError, ValueError, struct.error) as error:
                raise _damaged(path, error or type(error).__name__) from error

        return make_dataset

    return replace(indexed_dataset, "make_dataset", "damaged_data", make)


def repair_damaged_dictionaries() -> bool:
    """Names a dictionary that cannot be read.

    `Dictionary.add_from_file` (`data/dictionary.py`) names neither the file nor, for some damages, the reason.
    """
    from fairseq.data import Dictionary

    def make(original: Callable) -> Callable:
        def add_from_file(self: Any, f: Any) -> None:
            if not isinstance(f, str):
                return original(self, f)
            try:
                return original(self, f)
            except OSError as error:
                raise UserError(f"cannot read {f}: {error.strerror or error}") from error
            except Exception as error:  # fairseq raises bare ones
                reason = " ".join(str(error).split())
                raise UserError(f"{f} is damaged, expected lines of word and count: {reason[:160]}") from error

        return add_from_file

    return replace(Dictionary, "add_from_file", "damaged_dictionaries", make)


class _UnequalSides(UserError):
    pass


def repair_unequal_sides() -> bool:
    """Counts the sentences where the sides of a data set have different numbers of them."""
    from fairseq.data import LanguagePairDataset

    def make(original: Callable) -> Callable:
        def __init__(self: Any, src: Any, src_sizes: Any, src_dict: Any, tgt: Any = None, *args: Any, **kw: Any):
            if tgt is not None and len(src) != len(tgt):
                raise _UnequalSides(f"the source has {len(src):,} sentences, but the target {len(tgt):,}")
            original(self, src, src_sizes, src_dict, tgt, *args, **kw)

        return __init__

    return replace(LanguagePairDataset, "__init__", "unequal_sides", make)


def _inventory(folder: str) -> str:
    """Says which sets of which languages a folder holds, and in which form."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(folder).iterdir()):
        match = re.fullmatch(r"(\w+)\.([^.]+-[^.]+)\.[^.]+(\.idx)?", path.name)
        if match:
            form = "binarised" if match.group(3) else "raw text"
            found.setdefault(f"{form} of {match.group(2)}", set()).add(match.group(1))
    return "; ".join(f"{kind}: {', '.join(sorted(splits))}" for kind, splits in found.items()) or "no data"


def repair_missing_data() -> bool:
    """Says what a folder holds when it is not the data that was asked for.

    `load_langpair_dataset` (`tasks/translation.py`) says "Dataset not found", whether the folder holds other
    languages, other sets, or text that was not binarised.
    """
    from fairseq.tasks.translation import TranslationTask

    def make_load(original: Callable) -> Callable:
        def load_dataset(self: Any, split: str, *args: Any, **kwargs: Any) -> None:
            try:
                original(self, split, *args, **kwargs)
            except _UnequalSides as error:
                raise UserError(f"{self.cfg.data}, {split}: {error}; {_AGAIN}") from error
            except FileNotFoundError as error:
                missing = re.fullmatch(r"Dataset not found: .* \((.*)\)", str(error))
                if missing is None:
                    raise
                folder, impl = missing.group(1), self.cfg.dataset_impl
                if not os.path.isdir(folder):
                    raise UserError(f"{folder} is no folder of binarised data") from error
                form = "raw text" if str(impl) == "raw" else "binarised data"
                raise UserError(
                    f"{folder} has no {split} set of {self.cfg.source_lang}-{self.cfg.target_lang} as {form}; it holds "
                    f"{_inventory(folder)} (raw text is read with --dataset-impl raw, binarised data without it)"
                ) from error

        return load_dataset

    def make_setup(original: Callable) -> Callable:
        def setup_task(cls: type, cfg: Any, **kwargs: Any) -> Any:
            try:
                return original(cls, cfg, **kwargs)
            except OSError as error:
                raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from error
            except AssertionError as error:
                reason = "its dictionaries differ in fairseq's special symbols"
                raise UserError(f"{cfg.data}: {reason}; {_AGAIN}") from error

        return setup_task

    first = replace(TranslationTask, "load_dataset", "missing_data", make_load)
    return replace(TranslationTask, "setup_task", "missing_data", make_setup) or first
