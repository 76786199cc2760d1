"""The validation loss of an architecture with the weights that it inherits from the supernet."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
from fairseq import tasks, utils
from fairseq.data import Dictionary
from omegaconf import open_dict

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.models.loading import find_dictionaries, load_state, load_supernet, space_of


class LossEvaluator:
    """Measures architectures of one supernet on one split of one data set.

    The values are those that `fairseq-validate` reports with the architecture pinned and the same
    `--max-tokens`, unrounded. The model stays in eval mode and its weights are only read.

    Args:
        path: supernet checkpoint.
        data: folder that fairseq-preprocess wrote.
        split: its split to measure on.
        max_tokens: tokens of a batch.
        cpu: stay on the CPU where there is a GPU.

    Raises:
        UserError: no supernet, or data that is missing, empty, too long or of other dictionaries.
    """

    def __init__(
        self, path: str, data: str, split: str = "valid", max_tokens: int = 4096, cpu: bool = False
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
        self.model.to(self.device)
        with open_dict(cfg.task):
            cfg.task.data = str(folder)
            # Both would make fairseq do more than the loss needs: pin an architecture, translate.
            cfg.task.architecture = None
            cfg.task.eval_bleu = False
        task = tasks.setup_task(cfg.task)
        self.criterion = task.build_criterion(cfg.criterion).eval()
        self.batches = self._batches(task, folder, split, max_tokens)
        self.data_digest = _digest(task.dataset(split))

    @torch.no_grad()
    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Returns `loss` (the criterion's, with its label smoothing) and `nll_loss` (without).

        Both are base 2: `loss` per unit of the criterion's sample size (a token, unless the supernet was
        trained with `--sentence-avg`), `nll_loss` per target token.
        """
        self.model.eval()
        self.model.activate(architecture)
        loss = nll_loss = 0.0
        sample_size = tokens = 0
        for batch in self.batches:
            _, size, log = self.criterion(self.model, batch)
            loss += float(log["loss"])
            # fairseq's cross_entropy logs no second value: its loss is the first without smoothing.
            nll_loss += float(log.get("nll_loss", log["loss"]))
            sample_size += int(size)
            tokens += int(log["ntokens"])
        return {"loss": loss / sample_size / math.log(2), "nll_loss": nll_loss / tokens / math.log(2)}

    def _batches(self, task, folder: Path, split: str, max_tokens: int) -> list[dict]:
        where = f"split {split!r} of {folder}"
        pair = f"{task.cfg.source_lang}-{task.cfg.target_lang}"
        try:
            task.load_dataset(split, combine=False, epoch=1)
        except FileNotFoundError:
            raise UserError(f"{where} does not exist for {pair}: see --valid-subset") from None
        except ValueError as error:
            # What mapping a file of zero bytes into memory raises.
            if "empty file" not in str(error):
                raise
            raise UserError(f"{where} is empty: there is nothing to measure on") from None
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
        iterator = task.get_batch_iterator(
            dataset,
            max_tokens=max_tokens,
            max_positions=limits,
            # fairseq's defaults: its batches are ours.
            required_batch_size_multiple=8,
            seed=1,
        )
        batches = list(iterator.next_epoch_itr(shuffle=False))
        counted = sum(batch["nsentences"] for batch in batches)
        if counted != len(dataset):
            raise RuntimeError(f"{where}: {counted} of {len(dataset)} sentences are in the batches")
        return [utils.move_to_cuda(batch) if self.device.type == "cuda" else batch for batch in batches]


def _dictionaries(state: dict, path: str, folder: Path) -> tuple[Path, Path]:
    """Finds the data set's dictionaries; compares them with the checkpoint's where those still exist."""
    task = state["cfg"].task
    files = tuple(folder / f"dict.{language}.txt" for language in (task.source_lang, task.target_lang))
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: expected one that fairseq-preprocess wrote")
    for file in files:
        if not file.is_file():
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
    return Dictionary.load(str(file)).symbols


def _digest(dataset) -> str:
    """Returns a digest of all sentences, whatever the folder is called."""
    digest = hashlib.sha256()
    for side in (dataset.src, dataset.tgt):
        for index in range(len(side)):
            digest.update(side[index].numpy().tobytes() + b"|")
    return digest.hexdigest()[:16]
