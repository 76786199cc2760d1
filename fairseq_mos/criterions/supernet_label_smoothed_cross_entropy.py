"""Label-smoothed cross entropy of the architecture that is active, with optional distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)

from fairseq_mos.criterions.distillation import Distillation, DistillationConfig
from fairseq_mos.criterions.smoothed import Features, label_smoothed_loss
from fairseq_mos.errors import UserError


@dataclass
class SupernetCriterionConfig(DistillationConfig, LabelSmoothedCrossEntropyCriterionConfig):
    """Options of the criterion."""

    distillation_features: bool = field(
        default=False,
        metadata={
            "help": "of the largest architecture keep what its decoder puts out instead of log-probabilities (tokens x "
            "vocabulary), which are made anew for the others, block by block: saves their memory, and takes the time "
            "of two more output projections for each; needs --inplace-distillation"
        },
    )


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
        distillation_features: keep the largest architecture's features, not its predictions.

    Raises:
        UserError: a number out of range, or options that do not go together.
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
        distillation_features=False,
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
        if distillation_features and not inplace_distillation:
            raise UserError("--distillation-features needs --inplace-distillation")
        self.distillation_features = distillation_features

    def forward(self, model, sample, reduce=True, teacher=None, keep_teacher=False, weight=None):
        """Computes the loss of the active architecture.

        Args:
            model: the model.
            sample: a batch.
            reduce: sum over the tokens.
            teacher: predictions (batch * target length, vocabulary) of the largest architecture on this batch, to
                distil from.
            keep_teacher: keep this architecture's predictions, see :meth:`release_teacher`.
            weight: of the largest architecture's (`inplace_distillation` by default).

        Returns:
            Loss (summed), sample size and logging output, as all of fairseq's criterions.
        """

        def ask(other):
            return self.softened(self.get_lprobs_and_target(other, other(**sample["net_input"]), sample)[0])

        # Before the student's pass, so that both do not need their memory at once.
        answer = self.asked(model, sample, ask)
        parts, features, lprobs = {}, None, None
        if keep_teacher and self.distillation_features:
            features, extra = model(**sample["net_input"], features_only=True)
            net_output = model.decoder.output_layer(features), extra
        else:
            net_output = model(**sample["net_input"])
        if reduce and answer is None and hasattr(model, "activate"):
            scores, target = self._scores(model, net_output, sample)
            weight = self.inplace_distillation if weight is None else weight
            loss, nll_loss = label_smoothed_loss(scores, target, self.eps, self.padding_idx, teacher, weight)
        else:
            lprobs, target = self.get_lprobs_and_target(model, net_output, sample)
            loss, nll_loss = label_smoothed_nll_loss(lprobs, target, self.eps, self.padding_idx, reduce)
            pads = target.eq(self.padding_idx)
            loss, parts = self.taught(loss, lprobs, pads, answer, reduce)
            loss = self.distilled(loss, lprobs, pads, teacher, weight, reduce)
        if features is not None:
            self.kept = self._features(model, features)
        elif keep_teacher:
            self.kept = (torch.log_softmax(scores, -1, torch.float32) if lprobs is None else lprobs).detach()
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

    @torch.no_grad()
    def _features(self, model, states) -> Features:
        states = states.detach()[:, self.ignore_prefix_size :].flatten(0, 1)
        # Under autocast it is of another type.
        weight, bias = (t if t is None else t.detach().to(states.dtype) for t in model.decoder.output_weights())
        return Features(states, weight, bias)
