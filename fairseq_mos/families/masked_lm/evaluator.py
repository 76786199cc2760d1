"""The loss of an architecture on masked tokens, with the weights that it inherits from the supernet."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fairseq import tasks, utils
from omegaconf import open_dict

from fairseq_mos.errors import UserError
from fairseq_mos.families.batching import batches_by_length
from fairseq_mos.families.masked_lm.proxy import ProxyScorer
from fairseq_mos.families.masked_lm.texts import FILE, MaskedLMTexts, load_dictionary
from fairseq_mos.models.content import check_criterion
from fairseq_mos.models.loading import explained, load_model
from fairseq_mos.models.opening import Opened
from fairseq_mos.paths import is_file, is_folder
from fairseq_mos.search.evaluator import LossEvaluator, check_lengths, placed
from fairseq_mos.search.racing import Sums
from fairseq_mos.search.scoring import ScorerOptions

CRITERIA = ("supernet_masked_lm", "masked_lm")
"""Those whose loss this is."""

_OVERHEAD = {"cpu": 64, "cuda": 4096}
"""What a further batch costs, in tokens: launching many small kernels on a GPU costs as much as computing them."""


class MaskedLMEvaluator(LossEvaluator):
    """Measures architectures of one supernet on one split of one data set.

    All see the same masks, those of `fairseq-validate`, whose value it is for a pinned architecture, up to the order of
    sums.

    Args:
        opened: the supernet.
        data: folder that fairseq-preprocess wrote.
        split: its split to measure on.
        max_tokens: tokens of a batch, at most.
        cpu: stay on the CPU where there is a GPU.
        precision: `fp32`; on a GPU also `fp16` or `bf16`.

    Raises:
        UserError: no supernet, or data that is missing, empty or of another dictionary.
    """

    def __init__(self, opened: Opened, data: str, split: str, max_tokens: int, cpu: bool, precision: str):
        opened.space  # noqa: B018 (raises for what is no supernet)
        folder, path, cfg = Path(data.split(":")[0]), opened.path, opened.state["cfg"]
        model = load_model(opened.state, path, (_dictionary(opened, folder),))
        device = placed(model, max_tokens, cpu, precision)
        with open_dict(cfg.task):
            cfg.task.data = str(folder)
            cfg.task.architecture = None
        cfg.task._name = "supernet_masked_lm"
        check_criterion(cfg.get("criterion"), CRITERIA, path)
        with explained(path):
            task = tasks.setup_task(cfg.task)
        criterion = task.build_criterion(cfg.criterion).eval()
        dataset = _checked_dataset(task, folder, split, max_tokens)
        batches = [
            dataset.collater([dataset[index] for index in sentences])
            for sentences in batches_by_length(
                [(dataset.num_tokens(index),) for index in range(len(dataset))], max_tokens, _OVERHEAD[device.type]
            )
        ]
        if device.type == "cuda":
            batches = [utils.move_to_cuda(batch) for batch in batches]

        def loss(batch: dict) -> Sums:
            _, size, log = criterion(model, batch)
            return Sums(float(log["loss"]), float(log["loss"]), int(size), int(size))

        super().__init__(model, batches, loss, _digest(batches), path, split, max_tokens, precision)

    def scorer(self, options: ScorerOptions) -> ProxyScorer:
        """Returns what measures `proxy_score`."""
        return ProxyScorer(self.model, options.proxy)


def _checked_dataset(task, folder: Path, split: str, max_tokens: int):
    where = f"split {split!r} of {folder}"
    try:
        with explained(where):
            task.load_dataset(split, combine=False, epoch=1)
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UserError(f"{where} is missing: see --valid-subset") from error
        raise
    dataset = task.dataset(split)
    # As fairseq's validation, whichever update it follows.
    dataset.set_epoch(1)
    if len(dataset) == 0:
        raise UserError(f"{where} is empty: there is nothing to measure on")
    check_lengths(where, [dataset.num_tokens(index) for index in range(len(dataset))], max_tokens)
    return dataset


def _dictionary(opened: Opened, folder: Path) -> Path:
    """Finds the data set's dictionary; compares it with the checkpoint's where that still exists."""
    file = folder / FILE
    if not is_folder(folder):
        raise UserError(f"{folder} is no folder: expected one that fairseq-preprocess wrote")
    if not is_file(file):
        raise UserError(f"{file} does not exist: {folder} should be a folder that fairseq-preprocess wrote")
    try:
        (other,) = MaskedLMTexts.find(opened.state, opened.path)
    except UserError:
        return file  # its size is compared when the model is built
    if file.resolve() != other.resolve() and load_dictionary(file).symbols != load_dictionary(other).symbols:
        raise UserError(f"{file} differs from {other}, which {opened.path} goes with: preprocess with that one")
    return file


def _digest(batches: list[dict]) -> str:
    """Returns a digest of all sentences and masks, whatever the folder is called."""
    digest = hashlib.sha256()
    for batch in batches:
        for tokens in (batch["net_input"]["src_tokens"], batch["target"]):
            digest.update(tokens.cpu().numpy().tobytes() + b"|")
    return digest.hexdigest()[:16]
