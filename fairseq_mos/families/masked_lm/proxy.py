"""A proxy task: the score of a short fine-tuning with the weights that an architecture inherits."""

from __future__ import annotations

import hashlib
import math
from itertools import islice
from pathlib import Path

import torch
from fairseq import utils
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from fairseq.optim.adam import Adam
from torch import nn

from fairseq_mos.arch import Architecture
from fairseq_mos.download import file_digest
from fairseq_mos.families.masked_lm.sentences import HEAD, open_task, predictions, task_name
from fairseq_mos.metrics.glue import MEASURES, REGRESSION, glue_scores
from fairseq_mos.models.mos_roberta import MosRoberta
from fairseq_mos.paths import found_below
from fairseq_mos.search.scoring import ProxyOptions


class ProxyScorer:
    """Extracts an architecture, fine-tunes it for some updates and scores it on the task's valid split.

    It is what `fairseq-train --task sentence_prediction` does with the extracted subnet: batches in fairseq's order,
    Adam, a linear decay to 0, no warm-up, weight decay or clipping. Head, dropout and order depend on the seed alone,
    so all candidates are fine-tuned on the same examples, and one has the same score whenever it is asked for.
    Single precision; the supernet stays as it is.

    Args:
        model: the supernet.
        options: data and training.

    Raises:
        UserError: data that is missing, damaged, or of another task or dictionary.
    """

    def __init__(self, model: MosRoberta, options: ProxyOptions):
        self._model, self._options = model, options
        folder, where = Path(str(options.data)), f"--proxy-data {options.data}"
        self.name = task_name(where, folder, options.task)
        longest = model.max_positions()
        self.task = open_task(where, folder, self.name, model.dictionary, longest, options.seed)
        config = SentencePredictionConfig(HEAD, regression_target=self.name in REGRESSION)
        self._criterion = SentencePredictionCriterion(config, self.task)
        self._batches = self._first_batches()
        self._digest = _digest(folder)

    def _first_batches(self) -> list[dict]:
        """Returns a batch for each update, the same for all candidates."""
        iterator = self.task.get_batch_iterator(
            self.task.dataset("train"),
            max_sentences=self._options.batch_size,
            max_positions=self.task.max_positions(),
            required_batch_size_multiple=1,
            seed=self._options.seed,
        )

        def epochs():
            while True:
                yield from iterator.next_epoch_itr(shuffle=True)

        return list(islice(epochs(), self._options.updates))

    def signature(self) -> dict[str, object]:
        """Returns what the scores depend on."""
        options = self._options
        return {
            "proxy_task": self.name,
            "proxy_measure": MEASURES[self.name][0],
            "proxy_data": self._digest,
            "proxy_updates": options.updates,
            "proxy_lr": options.lr,
            "proxy_batch_size": options.batch_size,
            "proxy_seed": options.seed,
        }

    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Returns `proxy_score`, the first of the task's measures times 100; no number where training diverged."""
        found = predictions(self.tuned(architecture), self.task, "valid")
        if self.name in REGRESSION and not all(map(math.isfinite, found.predictions)):
            return {"proxy_score": math.nan}
        scores = glue_scores(self.name, found.labels, found.predictions)
        return {"proxy_score": scores[MEASURES[self.name][0]]}

    def tuned(self, architecture: Architecture) -> nn.Module:
        """Returns the fine-tuned subnet, in eval mode."""
        options = self._options
        with torch.random.fork_rng(), torch.enable_grad():
            subnet = self._model.extract(architecture).float()
            device = next(subnet.parameters()).device
            torch.manual_seed(options.seed)
            subnet.register_classification_head(HEAD, num_classes=self.task.cfg.num_classes)
            subnet.to(device).train()
            optimizer = Adam(subnet.parameters(), lr=options.lr, betas=(0.9, 0.999), eps=1e-8)
            for number, batch in enumerate(self._batches):
                # As fairseq's trainer: what dropout draws depends on seed and update alone.
                torch.manual_seed(options.seed + number)
                for group in optimizer.param_groups:
                    group["lr"] = options.lr * (1 - number / options.updates)
                optimizer.zero_grad()
                loss, size, _ = self._criterion(subnet, utils.move_to_cuda(batch) if device.type == "cuda" else batch)
                loss.backward()
                for parameter in subnet.parameters():
                    if parameter.grad is not None:
                        parameter.grad.mul_(1.0 / size)
                optimizer.step()
        return subnet.eval()


def _digest(folder: Path) -> str:
    """Returns a digest of the data, whatever its folder is called."""
    digest = hashlib.sha256()
    for part in ("input0", "input1", "label"):
        for file in sorted(found_below(folder / part, "*")):
            if file.name.split(".")[0] in ("train", "valid", "dict"):
                digest.update(f"{part}/{file.name} {file_digest(file)}\n".encode())
    return digest.hexdigest()[:16]
