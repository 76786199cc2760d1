"""Label-smoothed cross entropy of the architecture that is active, with optional in-place distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)

from fairseq_mos.criterions.distillation import Inplace, InplaceConfig


@dataclass
class SupernetCriterionConfig(InplaceConfig, LabelSmoothedCrossEntropyCriterionConfig):
    """Options of the criterion."""


@register_criterion("supernet_label_smoothed_cross_entropy", dataclass=SupernetCriterionConfig)
class SupernetLabelSmoothedCrossEntropy(Inplace, LabelSmoothedCrossEntropyCriterion):
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
        self.begin(inplace_distillation, distillation_warmup)

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
            pads = target.eq(self.padding_idx)
            loss = self.distilled(loss, lprobs, pads, teacher, keep_teacher, weight, reduce)
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
