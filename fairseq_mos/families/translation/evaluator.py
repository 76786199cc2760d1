"""The validation loss of an architecture on translations, with the weights that it inherits from the supernet."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fairseq import tasks, utils
from omegaconf import open_dict
from torch import nn

from fairseq_mos.errors import UserError
from fairseq_mos.families.batching import batches_by_length
from fairseq_mos.families.translation.losses import batch_loss
from fairseq_mos.families.translation.scorer import TranslationScorer
from fairseq_mos.families.translation.texts import TranslationTexts, load_dictionary
from fairseq_mos.models.content import check_criterion
from fairseq_mos.models.loading import explained, load_model
from fairseq_mos.models.opening import Opened, open_model
from fairseq_mos.paths import is_file, is_folder
from fairseq_mos.search.evaluator import LossEvaluator, check_lengths, placed
from fairseq_mos.search.scoring import ScorerOptions

CRITERIA = ("supernet_label_smoothed_cross_entropy", "label_smoothed_cross_entropy", "cross_entropy")
"""Those whose sums :func:`fairseq_mos.families.translation.losses.batch_loss` knows."""

CPU_TOKENS = 512
"""Tokens of a batch on a CPU, at most: what a layer computes for more of them leaves the processor's cache."""

CPU_OVERHEAD, OVERHEAD = 64, 4096
"""What a further batch costs, in tokens, for the loss on a CPU and for anything else: launching many small kernels
on a GPU, or the steps of a decoding, costs as much as computing thousands of tokens."""


class TranslationEvaluator(LossEvaluator):
    """Measures architectures of one supernet on one split of one data set.

    The values are those that `fairseq-validate` reports with the architecture pinned, unrounded and up to the
    order of sums: batches are made of sentences of like lengths.

    Args:
        supernet: its checkpoint, or that opened.
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
        supernet: str | Opened,
        data: str,
        split: str = "valid",
        max_tokens: int = 4096,
        cpu: bool = False,
        precision: str = "fp32",
    ):
        opened = open_model(supernet) if isinstance(supernet, str) else supernet
        folder = Path(data.split(":")[0])
        model = self.load(opened, folder)
        path, cfg = opened.path, opened.state["cfg"]
        device = placed(model, max_tokens, cpu, precision)
        with open_dict(cfg.task):
            cfg.task.data = str(folder)
            # Both would make fairseq do more than the loss needs: pin an architecture, translate.
            cfg.task.architecture = None
            cfg.task.eval_bleu = False
        cfg.task._name = "supernet_translation"
        check_criterion(cfg.get("criterion"), CRITERIA, path)
        with explained(path):
            self.task = task = tasks.setup_task(cfg.task)
        loss = batch_loss(task.build_criterion(cfg.criterion).eval(), model)
        self._dataset = _checked_dataset(task, model, folder, split, max_tokens)
        self._on_gpu = device.type == "cuda"
        if device.type == "cpu":
            batches = self.make_batches(min(max_tokens, CPU_TOKENS), CPU_OVERHEAD)
        else:
            batches = self.make_batches(max_tokens)
        super().__init__(model, batches, loss, _digest(self._dataset), path, split, max_tokens, precision)

    def load(self, opened: Opened, folder: Path) -> nn.Module:
        """Returns the supernet, in eval mode, with the dictionaries of a data set.

        Raises:
            UserError: as the constructor.
        """
        opened.space  # noqa: B018 (raises for what is no supernet)
        return load_model(opened.state, opened.path, _dictionaries(opened.state, opened.path, folder))

    def scorer(self, options: ScorerOptions) -> TranslationScorer:
        """Returns what measures `bleu` and `chrf`."""
        # Larger batches than those of the loss: a step of the decoding computes few tokens anyway.
        return TranslationScorer(self.model, self.task, self.make_batches(self.max_tokens), options)

    def make_batches(self, max_tokens: int, overhead: int = OVERHEAD) -> list[dict]:
        """Returns the split in batches of like lengths, on the device; the order is always the same.

        Args:
            max_tokens: sentences of a batch times its longest side, at most.
            overhead: see :func:`fairseq_mos.families.batching.batches_by_length`.
        """
        lengths = [self._dataset.size(index) for index in range(len(self._dataset))]
        found = []
        for sentences in batches_by_length(lengths, max_tokens, overhead):
            batch = self._dataset.collater([self._dataset[index] for index in sentences])
            found.append(utils.move_to_cuda(batch) if self._on_gpu else batch)
        return found


def _checked_dataset(task, model, folder: Path, split: str, max_tokens: int):
    where = f"split {split!r} of {folder}"
    task.load_dataset(split, combine=False, epoch=1)
    dataset = task.dataset(split)
    if len(dataset) == 0:
        raise UserError(f"{where} is empty: there is nothing to measure on")
    if dataset.tgt is None:
        raise UserError(f"{where} has no {task.cfg.target_lang} side: a loss needs targets")
    limits = utils.resolve_max_positions(task.max_positions(), model.max_positions())
    _, too_long = dataset.filter_indices_by_size(dataset.ordered_indices(), limits)
    if len(too_long):
        raise UserError(
            f"{where}: {len(too_long)} sentences are longer than the supernet takes "
            f"({limits[0]} source and {limits[1]} target tokens), such as number {too_long[0]}"
        )
    check_lengths(where, [dataset.num_tokens(index) for index in range(len(dataset))], max_tokens)
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
        trained_with = TranslationTexts.find(state, path)
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
