"""The validation loss of an architecture with the weights that it inherits from the supernet."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import torch
from fairseq import tasks, utils
from omegaconf import open_dict

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.models.content import check_criterion
from fairseq_mos.models.loading import (
    explained,
    find_dictionaries,
    load_dictionary,
    load_state,
    load_supernet,
    space_of,
)
from fairseq_mos.paths import is_file, is_folder
from fairseq_mos.search.batching import batches_by_length
from fairseq_mos.search.losses import batch_loss
from fairseq_mos.search.racing import Sums, clearly_worse, estimate, means

CPU_TOKENS = 512
"""Tokens of a batch on a CPU, at most: what a layer computes for more of them leaves the processor's cache."""

CPU_OVERHEAD, OVERHEAD = 64, 4096
"""What a further batch costs, in tokens, for the loss on a CPU and for anything else: launching many small kernels
on a GPU, or the steps of a decoding, costs as much as computing thousands of tokens."""


class LossEvaluator:
    """Measures architectures of one supernet on one split of one data set.

    The values are those that `fairseq-validate` reports with the architecture pinned, unrounded and up to the
    order of sums: batches are made of sentences of like lengths. The model stays in eval mode and its weights
    are only read.

    Args:
        path: supernet checkpoint.
        data: folder that fairseq-preprocess wrote.
        split: its split to measure on.
        max_tokens: tokens of a batch, at most.
        cpu: stay on the CPU where there is a GPU.
        precision: `fp32`; on a GPU also `fp16` or `bf16`.

    Raises:
        UserError: no supernet, or data that is missing, empty, too long or of other dictionaries.
    """

    def __init__(
        self,
        path: str,
        data: str,
        split: str = "valid",
        max_tokens: int = 4096,
        cpu: bool = False,
        precision: str = "fp32",
    ):
        if max_tokens < 1:
            raise UserError(f"--max-tokens is {max_tokens}, allowed: 1 or more")
        state = load_state(path)
        space_of(state, path)
        cfg = state["cfg"]
        folder = Path(data.split(":")[0])
        dictionaries = _dictionaries(state, path, folder)
        self.model = load_supernet(state, path, dictionaries)
        self.space = self.model.space
        self.device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
        if precision != "fp32" and self.device.type == "cpu":
            raise UserError(f"--{precision} needs a GPU: on the CPU, half precision is slower and less exact")
        self.precision = precision
        self.model.to(self.device, {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision])
        with open_dict(cfg.task):
            cfg.task.data = str(folder)
            # Both would make fairseq do more than the loss needs: pin an architecture, translate.
            cfg.task.architecture = None
            cfg.task.eval_bleu = False
        cfg.task._name = "supernet_translation"
        check_criterion(cfg.get("criterion"), path)
        with explained(path):
            self.task = task = tasks.setup_task(cfg.task)
        self._batch_loss = batch_loss(task.build_criterion(cfg.criterion).eval(), self.model)
        self._dataset = self._checked_dataset(task, folder, split, max_tokens)
        self.max_tokens = max_tokens
        if self.device.type == "cpu":
            self.batches = self.make_batches(min(max_tokens, CPU_TOKENS), CPU_OVERHEAD)
        else:
            self.batches = self.make_batches(max_tokens)
        self.data_digest = _digest(self._dataset)
        # A batch holds sentences of one length: in this order, any part of them is a fair sample.
        self.order = random.Random("order of batches").sample(range(len(self.batches)), len(self.batches))
        self._known: dict[Architecture, list[Sums]] = {}

    @torch.no_grad()
    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Returns `loss` (the criterion's, with its label smoothing) and `nll_loss` (without).

        Both are base 2: `loss` per unit of the criterion's sample size (a token, unless the supernet was
        trained with `--sentence-avg`), `nll_loss` per target token.
        """
        return means(self._sums(architecture))

    @torch.no_grad()
    def race(self, architecture: Architecture, incumbent: Architecture) -> dict[str, float]:
        """Like :meth:`evaluate`, but stops where the architecture is clearly worse than the incumbent.

        Batches are visited in a random order that is always the same, and compared pairwise, see
        :func:`fairseq_mos.search.racing.clearly_worse`.

        Returns:
            `loss`, `nll_loss` and `raced`: 0 where the whole split was used; 1 where `loss` and `nll_loss` are
            estimates: the incumbent's plus the mean difference so far.
        """
        # On several ranks, and in a continued search, another process may have evaluated it.
        against = self._known.get(incumbent) or self._sums(incumbent)
        found = self._sums(architecture, lambda sums: clearly_worse(sums, against, len(self.batches)))
        if len(found) == len(self.batches):
            return {**means(found), "raced": 0.0}
        return {**estimate(found, against), "raced": 1.0}

    def _sums(self, architecture: Architecture, stop: Callable[[list[Sums]], bool] | None = None) -> list[Sums]:
        """Returns the sums of each batch, in :attr:`order`, up to where `stop` says so."""
        self.model.eval()
        self.model.activate(architecture)
        found: list[Sums] = []
        for place in self.order:
            found.append(self._batch_loss(self.batches[place]))
            if stop is not None and stop(found):
                break
        if len(found) == len(self.batches):
            # A few numbers each: whatever was evaluated may become what others race against.
            self._known[architecture] = found
        return found

    def make_batches(self, max_tokens: int, overhead: int = OVERHEAD) -> list[dict]:
        """Returns the split in batches of like lengths, on the device; the order is always the same.

        Args:
            max_tokens: sentences of a batch times its longest side, at most.
            overhead: see :func:`fairseq_mos.search.batching.batches_by_length`.
        """
        lengths = [self._dataset.size(index) for index in range(len(self._dataset))]
        found = []
        for sentences in batches_by_length(lengths, max_tokens, overhead):
            batch = self._dataset.collater([self._dataset[index] for index in sentences])
            found.append(utils.move_to_cuda(batch) if self.device.type == "cuda" else batch)
        return found

    def _checked_dataset(self, task, folder: Path, split: str, max_tokens: int):
        where = f"split {split!r} of {folder}"
        task.load_dataset(split, combine=False, epoch=1)
        dataset = task.dataset(split)
        if len(dataset) == 0:
            raise UserError(f"{where} is empty: there is nothing to measure on")
        if dataset.tgt is None:
            raise UserError(f"{where} has no {task.cfg.target_lang} side: a loss needs targets")
        limits = utils.resolve_max_positions(task.max_positions(), self.model.max_positions())
        _, too_long = dataset.filter_indices_by_size(dataset.ordered_indices(), limits)
        if len(too_long):
            raise UserError(
                f"{where}: {len(too_long)} sentences are longer than the supernet takes "
                f"({limits[0]} source and {limits[1]} target tokens), such as number {too_long[0]}"
            )
        longest = max(dataset.num_tokens(index) for index in range(len(dataset)))
        if longest > max_tokens:
            raise UserError(f"{where}: the longest sentence has {longest} tokens: raise --max-tokens to it")
        return dataset


def _dictionaries(state: dict, path: str, folder: Path) -> tuple[Path, Path]:
    """Finds the data set's dictionaries; compares them with the checkpoint's where those still exist."""
    task = state["cfg"].task
    files = tuple(folder / f"dict.{language}.txt" for language in (task.source_lang, task.target_lang))
    if not is_folder(folder):
        raise UserError(f"{folder} is no folder: expected one that fairseq-preprocess wrote")
    for file in files:
        if not is_file(file):
            raise UserError(
                f"{file} does not exist: {folder} should be a folder that fairseq-preprocess wrote for "
                f"{task.source_lang}-{task.target_lang}, as for {path}"
            )
    try:
        trained_with = find_dictionaries(state, path)
    except UserError:
        return files  # their sizes are compared when the model is built
    for file, other in zip(files, trained_with):
        if file.resolve() != other.resolve() and _words(file) != _words(other):
            raise UserError(f"{file} differs from {other}, which {path} goes with: preprocess with that one")
    return files


def _words(file: Path) -> list[str]:
    return load_dictionary(file).symbols


def _digest(dataset) -> str:
    """Returns a digest of all sentences, whatever the folder is called."""
    digest = hashlib.sha256()
    for side in (dataset.src, dataset.tgt):
        for index in range(len(side)):
            digest.update(side[index].numpy().tobytes() + b"|")
    return digest.hexdigest()[:16]
