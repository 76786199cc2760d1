"""Masked language model's loss of the architecture that is active, with optional distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

import math
from dataclasses import dataclass

from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.logging import metrics
from torch.nn import functional as F

from fairseq_mos.criterions.distillation import Distillation, DistillationConfig


@dataclass
class SupernetMaskedLMConfig(DistillationConfig, MaskedLmConfig):
    """Options of the criterion."""


@register_criterion("supernet_masked_lm", dataclass=SupernetMaskedLMConfig)
class SupernetMaskedLM(Distillation, MaskedLmLoss):
    """The loss of one architecture, fairseq's `masked_lm`; the task adds up those of an update.

    With a teacher it is for any model.
    """

    family = "masked_lm"
    options = SupernetMaskedLMConfig

    def __init__(self, cfg: SupernetMaskedLMConfig, task):
        super().__init__(cfg, task)
        self.begin(task, cfg)

    def forward(self, model, sample, reduce=True, teacher=None, keep_teacher=False, weight=None):
        """Computes the loss of the active architecture.

        Args:
            model: the model.
            sample: a batch.
            reduce: sum over the tokens.
            teacher: log-probabilities (masked tokens, vocabulary) of the largest architecture on this batch, to distil
                from.
            keep_teacher: keep this architecture's log-probabilities, see :meth:`release_teacher`.
            weight: of the largest architecture's (`inplace_distillation` by default).

        Returns:
            Loss (summed), number of masked tokens and logging output, as fairseq's criterion.
        """
        masked = sample["target"].ne(self.padding_idx)

        def scored(network):
            return F.log_softmax(network(**sample["net_input"], masked_tokens=masked)[0].float(), dim=-1)

        answer = self.asked(model, sample, lambda other: self.softened(scored(other)))
        if answer is None and teacher is None and not keep_teacher:
            return super().forward(model, sample, reduce)
        lprobs, target = scored(model), sample["target"][masked]
        loss = labels = F.nll_loss(lprobs, target, reduction="sum" if reduce else "none")
        pads = target.eq(self.padding_idx)
        loss, parts = self.taught(loss, lprobs, pads, answer, reduce)
        loss = self.distilled(loss, lprobs, pads, teacher, keep_teacher, weight, reduce)
        size = masked.int().sum()
        log = {
            "loss": loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": size,
            **({"nll_loss": labels.data, **parts} if parts else {}),
        }
        return loss, size, log

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs what the criterion does; with a teacher also the labels' part, as `nll_loss`, which `ppl` is of."""
        if any("nll_loss" in log for log in logging_outputs):
            total, size = (sum(log.get(key, 0) for log in logging_outputs) for key in ("nll_loss", "sample_size"))
            metrics.log_scalar("nll_loss", total / size / math.log(2), size, round=3)
            # The first of a name counts.
            metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
        super().reduce_metrics(logging_outputs)
