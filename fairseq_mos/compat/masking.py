"""Masks of masked language models: of whole words, and each epoch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError, one_line

_FLAG = "--mask-whole-words"


def _subwords(task: Any) -> Any:
    """Returns the configuration of the subwords, which is a neighbour of the task's."""
    find = getattr(task.cfg, "_get_parent", None)
    parent = find() if find is not None else None
    return None if parent is None else parent.get("bpe")


def repair_whole_word_masks() -> bool:
    """Makes `--mask-whole-words` of `masked_lm` work.

    `MaskedLMTask.load_dataset` (`tasks/masked_lm.py`) looks for the subword model in `self.args`, which no task with a
    dataclass has: `AttributeError`. Without a subword model the flag would do nothing, so that is said.
    """
    from fairseq.data import encoders
    from fairseq.tasks import masked_lm

    task = masked_lm.MaskedLMTask
    if hasattr(task, "args") or "args" not in task.load_dataset.__code__.co_names:
        return False
    task.args = property(_subwords)

    def make(original: Callable) -> Callable:
        def get_whole_word_mask(args: Any, dictionary: Any) -> Any:
            name = None if args is None else getattr(args, "_name", None)
            known = [key for key, kind in encoders.BPE_REGISTRY.items() if hasattr(kind, "is_beginning_of_word")]
            if name not in known:
                allowed = f"{'--bpe is ' + name if name else 'give --bpe'}, allowed: {', '.join(known)}"
                raise UserError(f"{_FLAG} needs subwords that tell where words begin: {allowed}")
            try:
                return original(args, dictionary)
            except (Exception, SystemExit) as error:  # of any library
                raise UserError(f"{_FLAG}: --bpe {name} cannot be read: {one_line(error, 160)}") from error

        return get_whole_word_mask

    return replace(masked_lm, "get_whole_word_mask", "whole_word_masks", make)


def repair_masks_of_the_first_epoch() -> bool:
    """Draws masks anew in each epoch of `masked_lm`, with data workers and without.

    By default fairseq keeps its data loader for all epochs (`tasks/fairseq_task.py`), and with it a worker that never
    hears of the next one: all have the masks of the first, and those of a training that is resumed are others. And
    `LRUCacheDataset` keeps its last eight items by their index alone, whatever the epoch.
    """
    from fairseq.data import LRUCacheDataset
    from fairseq.tasks.masked_lm import MaskedLMTask

    def make_iterator(original: Callable) -> Callable:
        def get_batch_iterator(self: Any, *arguments: Any, **options: Any) -> Any:
            found = original(self, *arguments, **options)
            found.reuse_dataloader = found.persistent_workers = False
            return found

        return get_batch_iterator

    def make_epoch(original: Callable) -> Callable:
        def set_epoch(self: Any, epoch: int) -> None:
            getattr(LRUCacheDataset.__getitem__, "cache_clear", lambda: None)()
            original(self, epoch)

        return set_epoch

    first = replace(MaskedLMTask, "get_batch_iterator", "masks_of_the_first_epoch", make_iterator)
    return replace(LRUCacheDataset, "set_epoch", "masks_of_the_first_epoch", make_epoch) or first
