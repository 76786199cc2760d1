"""Masked language model's loss of the architecture that is active, with optional in-place distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass

from fairseq.criterions import register_criterion
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from torch.nn import functional as F

from fairseq_mos.criterions.distillation import Inplace, InplaceConfig


@dataclass
class SupernetMaskedLMConfig(InplaceConfig, MaskedLmConfig):
    """Options of the criterion."""


@register_criterion("supernet_masked_lm", dataclass=SupernetMaskedLMConfig)
class SupernetMaskedLM(Inplace, MaskedLmLoss):
    """The loss of one architecture, fairseq's `masked_lm`; the task adds up those of an update."""

    def __init__(self, cfg: SupernetMaskedLMConfig, task):
        super().__init__(cfg, task)
        self.begin(cfg.inplace_distillation, cfg.distillation_warmup)

    def forward(self, model, sample, reduce=True, teacher=None, keep_teacher=False, weight=None):
        """Computes the loss of the active architecture.

        Args:
            model: the model.
            sample: a batch.
            reduce: sum over the tokens.
            teacher: log-probabilities (masked tokens, vocabulary) of the largest architecture on this batch, to distil
                from.
            keep_teacher: keep this architecture's log-probabilities as `self.teacher`.
            weight: of the soft targets (`inplace_distillation` by default).

        Returns:
            Loss (summed), number of masked tokens and logging output, as fairseq's criterion.
        """
        if teacher is None and not keep_teacher:
            return super().forward(model, sample, reduce)
        masked = sample["target"].ne(self.padding_idx)
        scores = model(**sample["net_input"], masked_tokens=masked)[0]
        lprobs = F.log_softmax(scores.float(), dim=-1)
        target = sample["target"][masked]
        loss = F.nll_loss(lprobs, target, reduction="sum" if reduce else "none")
        pads = target.eq(self.padding_idx)
        loss = self.distilled(loss, lprobs, pads, teacher, keep_teacher, weight, reduce)
        size = masked.int().sum()
        log = {
            "loss": loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": size,
        }
        return loss, size, log
