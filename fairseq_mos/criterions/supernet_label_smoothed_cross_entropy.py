"""Label-smoothed cross entropy of the architecture that is active, with optional distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass
from types import SimpleNamespace

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)

from fairseq_mos.criterions.distillation import Distillation, DistillationConfig
from fairseq_mos.criterions.smoothed import label_smoothed_loss


@dataclass
class SupernetCriterionConfig(DistillationConfig, LabelSmoothedCrossEntropyCriterionConfig):
    """Options of the criterion."""


@register_criterion("supernet_label_smoothed_cross_entropy", dataclass=SupernetCriterionConfig)
class SupernetLabelSmoothedCrossEntropy(Distillation, LabelSmoothedCrossEntropyCriterion):
    """The loss of one architecture; the task adds up those of an update. With a teacher it is for any model.

    Args:
        task: the task.
        sentence_avg: normalise by sentences instead of tokens.
        label_smoothing: epsilon.
        inplace_distillation: weight of the largest architecture's predictions (BigNAS, section 3.1).
        ignore_prefix_size: ignore the first N tokens.
        report_accuracy: log accuracy.
        distillation_warmup: updates until `inplace_distillation` has grown to that.
        teacher: a checkpoint to distil from.
        teacher_architecture: of a supernet.
        distillation_weight: of its predictions.
        distillation_temperature: at which they are compared.
    """

    family = "translation"

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        inplace_distillation=0.0,
        ignore_prefix_size=0,
        report_accuracy=False,
        distillation_warmup=0,
        teacher=None,
        teacher_architecture=None,
        distillation_weight=0.5,
        distillation_temperature=1.0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        options = SimpleNamespace(
            inplace_distillation=inplace_distillation,
            distillation_warmup=distillation_warmup,
            teacher=teacher,
            teacher_architecture=teacher_architecture,
            distillation_weight=distillation_weight,
            distillation_temperature=distillation_temperature,
        )
        self.begin(task, options)

    def forward(self, model, sample, reduce=True, teacher=None, keep_teacher=False, weight=None):
        """Computes the loss of the active architecture.

        Args:
            model: the model.
            sample: a batch.
            reduce: sum over the tokens.
            teacher: log-probabilities (batch * target length, vocabulary) of the largest architecture on
                this batch, to distil from.
            keep_teacher: keep this architecture's log-probabilities, see :meth:`release_teacher`.
            weight: of the largest architecture's (`inplace_distillation` by default).

        Returns:
            Loss (summed), sample size and logging output, as all of fairseq's criterions.
        """

        def ask(other):
            return self.softened(self.get_lprobs_and_target(other, other(**sample["net_input"]), sample)[0])

        # Before the student's pass, so that both do not need their memory at once.
        answer = self.asked(model, sample, ask)
        net_output = model(**sample["net_input"])
        parts = {}
        if reduce and answer is None and teacher is None and not keep_teacher and hasattr(model, "activate"):
            loss, nll_loss = label_smoothed_loss(*self._scores(model, net_output, sample), self.eps, self.padding_idx)
        else:
            lprobs, target = self.get_lprobs_and_target(model, net_output, sample)
            loss, nll_loss = label_smoothed_nll_loss(lprobs, target, self.eps, self.padding_idx, reduce)
            pads = target.eq(self.padding_idx)
            loss, parts = self.taught(loss, lprobs, pads, answer, reduce)
            loss = self.distilled(loss, lprobs, pads, teacher, keep_teacher, weight, reduce)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "nll_loss": nll_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
            **parts,
        }
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, sample)
            logging_output["n_correct"] = n_correct.data
            logging_output["total"] = total.data
        return loss, sample_size, logging_output

    def _scores(self, model, net_output, sample):
        """Returns a supernet's scores (tokens, vocabulary), which need no other softmax than the usual, and targets."""
        scores = net_output[0][:, self.ignore_prefix_size :]
        target = model.get_targets(sample, net_output)[:, self.ignore_prefix_size :]
        return scores.reshape(-1, scores.shape[-1]), target.reshape(-1)
