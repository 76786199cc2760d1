"""Label-smoothed cross entropy of the architecture that is active, with optional in-place distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch.nn import functional as F

from fairseq_mos.fields import ranged
from fairseq_mos.ranges import PROBABILITY, UPDATES


@dataclass
class SupernetCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of the criterion."""

    inplace_distillation: float = ranged(
        0.0,
        "weight of the largest architecture's predictions as soft targets for the other architectures of the "
        "update: 1 leaves them no labels (BigNAS, AttentiveNAS), 0 is off, as in MoS; needs --arch-sampling "
        "sandwich (default: 0)",
        PROBABILITY,
    )
    distillation_warmup: int = ranged(
        0, "updates during which the weight of --inplace-distillation grows linearly from 0 (default: 0)", UPDATES
    )


@register_criterion("supernet_label_smoothed_cross_entropy", dataclass=SupernetCriterionConfig)
class SupernetLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """The loss of one architecture; the task adds up those of an update.

    Args:
        task: the task.
        sentence_avg: normalise by sentences instead of tokens.
        label_smoothing: epsilon.
        inplace_distillation: weight of the soft targets (BigNAS, section 3.1).
        distillation_warmup: updates until it has grown to that.
        ignore_prefix_size: ignore the first N tokens.
        report_accuracy: log accuracy.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        inplace_distillation=0.0,
        ignore_prefix_size=0,
        report_accuracy=False,
        distillation_warmup=0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.inplace_distillation = PROBABILITY.check("--inplace-distillation", inplace_distillation)
        self.distillation_warmup = UPDATES.check("--distillation-warmup", distillation_warmup)

    def distillation_weight(self, update: int) -> float:
        """Returns the weight of the soft targets at an update."""
        if update >= self.distillation_warmup:
            return self.inplace_distillation
        return self.inplace_distillation * update / self.distillation_warmup

    def forward(self, model, sample, reduce=True, teacher=None, keep_teacher=False, weight=None):
        """Computes the loss of the active architecture.

        Args:
            model: the model.
            sample: a batch.
            reduce: sum over the tokens.
            teacher: log-probabilities (batch * target length, vocabulary) of the largest architecture on
                this batch, to distil from.
            keep_teacher: keep this architecture's log-probabilities as `self.teacher`.
            weight: of the soft targets (`inplace_distillation` by default).

        Returns:
            Loss (summed), sample size and logging output, as all of fairseq's criterions.
        """
        net_output = model(**sample["net_input"])
        loss, nll_loss = self.compute_loss(model, net_output, sample, reduce=reduce)
        if teacher is not None or keep_teacher:
            lprobs, target = self.get_lprobs_and_target(model, net_output, sample)
            if keep_teacher:
                self.teacher = lprobs.detach()
            else:
                soft = F.kl_div(lprobs, teacher, reduction="none", log_target=True).sum(-1)
                soft = soft.masked_fill(target.eq(self.padding_idx), 0.0)
                weight = self.inplace_distillation if weight is None else weight
                loss = (1 - weight) * loss + weight * (soft.sum() if reduce else soft)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "nll_loss": nll_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, sample)
            logging_output["n_correct"] = n_correct.data
            logging_output["total"] = total.data
        return loss, sample_size, logging_output

    def release_teacher(self) -> torch.Tensor:
        """Hands over the log-probabilities that :meth:`forward` kept."""
        teacher, self.teacher = self.teacher, None
        return teacher
