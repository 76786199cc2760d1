"""No sentence is lost when a data set is cut into batches, and none is left uncounted when they are trained on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import replace


def _needs_lost_sentences(batch_by_size: Callable) -> bool:
    import numpy as np

    ones = np.ones(9, dtype=np.int64)
    batches = batch_by_size(np.arange(9), None, ones, max_tokens=16, required_batch_size_multiple=8)
    return sum(len(batch) for batch in batches) != 9


def repair_lost_sentences() -> bool:
    """Keeps the last batch of every data set.

    fairseq's `data/data_utils.py` (`batch_by_size`) drops the last batch unless its size is a multiple
    of `--required-batch-size-multiple` (default 8). Indices are sorted by length, so the longest
    sentences vanish from training, validation and generation alike, and with them the meaning of a
    score. Batches are contiguous slices of the indices: what is missing is their tail, and as one
    batch it kept every limit before it was dropped. The other batches stay as they are, and so do
    data sets with fixed batch shapes, from which nothing is dropped.
    """
    from fairseq.data import data_utils

    if not _needs_lost_sentences(data_utils.batch_by_size):
        return False

    def make(original: Callable) -> Callable:
        def batch_by_size(
            indices: Any,
            num_tokens_fn: Callable | None = None,
            num_tokens_vec: Any = None,
            max_tokens: int | None = None,
            max_sentences: int | None = None,
            required_batch_size_multiple: int = 1,
            fixed_shapes: Any = None,
        ) -> list:
            import numpy as np

            if not isinstance(indices, np.ndarray):
                indices = np.fromiter(indices, dtype=np.int64, count=-1)
            arguments = (num_tokens_vec, max_tokens, max_sentences, required_batch_size_multiple)
            if fixed_shapes is not None:
                return original(indices, num_tokens_fn, *arguments, fixed_shapes)
            if len(indices) == 0:  # the original looks at the last of no batches
                return []
            batches = list(original(indices, num_tokens_fn, *arguments))
            lost = indices[sum(len(batch) for batch in batches) :]
            return [*batches, lost] if len(lost) else batches

        return batch_by_size

    return replace(data_utils, "batch_by_size", "lost_sentences", make)


def repair_uncounted_batches() -> bool:
    """Counts the batches of a rank that has one fewer than others in an epoch's last update.

    With several ranks and `--update-freq` the trainer (`trainer.py`, `train_step`) takes a rank's whole update for
    a made-up one where its last batch is: the tokens of the real ones before it count as none, while their
    gradients do, which makes that update too large; and their losses are not logged. A rank needs a made-up batch
    only where it has no other.
    """
    from fairseq.trainer import Trainer

    # After the loop over the batches, so of the last one.
    if "if is_dummy_batch:" not in inspect.getsource(Trainer.train_step):
        return False

    def make(original: Callable) -> Callable:
        def train_step(self: Any, samples: list, *args: Any, **kwargs: Any) -> Any:
            real = [sample for sample in samples if sample is not None and len(sample)]
            return original(self, real or samples, *args, **kwargs)

        return train_step

    return replace(Trainer, "train_step", "uncounted_batches", make)
