"""Distillation: a checkpoint as the teacher of a training, or the largest architecture of an update of the others.

No postponed annotations here: fairseq reads the field types at run time.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch.nn import functional as F

from fairseq_mos.criterions.smoothed import Predictions
from fairseq_mos.criterions.teacher import Teacher
from fairseq_mos.errors import UserError
from fairseq_mos.fields import check_fields, ranged
from fairseq_mos.ranges import PROBABILITY, UPDATES, Range

TEMPERATURE = Range(float, 0.0, 1000.0, above=True)


@dataclass
class DistillationConfig(FairseqDataclass):
    """Options of distillation."""

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
    teacher: Optional[str] = field(
        default=None,
        metadata={
            "help": "checkpoint (or exported folder) whose predictions are soft targets, of the same task and "
            "dictionaries; training alone asks it, validation measures labels (default: none)"
        },
    )
    teacher_architecture: Optional[str] = field(
        default=None,
        metadata={"help": "of a --teacher that is a supernet: a YAML file, largest, smallest, random:SEED"},
    )
    distillation_weight: float = ranged(
        0.5, "weight of the --teacher's predictions; labels have what is left to 1 (default: 0.5)", PROBABILITY
    )
    distillation_temperature: float = ranged(
        1.0,
        "divides the scores of --teacher and student before they are compared; the square of it multiplies their "
        "divergence, so that gradients stay as large (default: 1)",
        TEMPERATURE,
    )


class Distillation:
    """Mixed into a criterion.

    In place (BigNAS, section 3.1), the task hands the largest architecture's log-probabilities to the others. A teacher
    (Hinton et al. 2015; on words: Kim and Rush 2016) is asked in training alone, once a batch for all architectures.
    The loss is `(1 - W) labels + W T^2 KL(teacher || student)`, in sums over tokens. With both, the in-place weight
    divides the others' loss between that and the largest's predictions.
    """

    family = ""
    """Of the models that it is for."""
    options = DistillationConfig
    """Its options."""
    NEED_TEACHER = ("teacher_architecture", "distillation_weight", "distillation_temperature")
    """Those that mean nothing without a teacher."""
    PARTS = {"distillation_loss": math.log(2)}
    """What is logged of a teacher besides `loss`, which is all that training minimises, and its unit."""

    kept: Optional[Predictions] = None

    @classmethod
    def build_criterion(cls, cfg, task):
        """Builds the criterion.

        Raises:
            UserError: in-place distillation where a model has one architecture.
        """
        if cfg.inplace_distillation and not hasattr(task, "architectures"):
            raise UserError("--inplace-distillation is for supernets and their tasks: give --teacher to other models")
        return super().build_criterion(cfg, task)

    def begin(self, task, options) -> None:
        """Takes the options, as attributes, at the end of construction.

        Raises:
            UserError: a number out of range, or what needs a teacher without one.
        """
        check_fields(options, self.options)
        self.inplace_distillation = options.inplace_distillation
        self.distillation_warmup = options.distillation_warmup
        self.weight, self.temperature = options.distillation_weight, options.distillation_temperature
        self.source: Optional[Teacher] = None
        if options.teacher:
            self.source = Teacher(options.teacher, options.teacher_architecture, self.family, task)
            return
        for name in self.NEED_TEACHER:
            if getattr(options, name) != self.options.__dataclass_fields__[name].default:
                raise UserError(f"--{name.replace('_', '-')} needs --teacher")

    def begin_training(self, model) -> None:
        """Opens the teacher, which training alone asks: what is wrong with it is said before the first update.

        Raises:
            UserError: it cannot be loaded, or does not fit the task.
        """
        if self.source is not None:
            self.source.model(model)

    def inplace_weight(self, update: int) -> float:
        """Returns the weight of the largest architecture's predictions at an update."""
        if update >= self.distillation_warmup:
            return self.inplace_distillation
        return self.inplace_distillation * update / self.distillation_warmup

    def asked(self, student, sample: Mapping, ask: Callable) -> Any:
        """Returns the teacher's answer to a batch, see :meth:`Teacher.answer`; None without one, and in validation."""
        return self.source.answer(student, sample, ask) if self.source is not None and self.training else None

    def softened(self, lprobs: torch.Tensor) -> torch.Tensor:
        """Returns the log-probabilities at the temperature; constants that scores differ by have no effect."""
        return lprobs if self.temperature == 1 else F.log_softmax(lprobs / self.temperature, dim=-1)

    def taught(self, loss, lprobs, pads, teacher, reduce: bool):
        """Mixes the loss with a teacher's predictions.

        Args:
            loss: of the labels.
            lprobs: the student's log-probabilities (tokens, vocabulary).
            pads: (tokens), where there is nothing to learn.
            teacher: the teacher's, :meth:`softened`; None: there is none.
            reduce: sum over the tokens.

        Returns:
            The loss, and what is logged.
        """
        if teacher is None:
            return loss, {}
        soft = self.temperature**2 * _divergence(self.softened(lprobs), teacher, pads, reduce)
        return (1 - self.weight) * loss + self.weight * soft.view_as(loss), {"distillation_loss": soft.data}

    def distilled(self, loss, lprobs, pads, teacher: Optional[Predictions], weight: Optional[float], reduce: bool):
        """Mixes the loss with the largest architecture's predictions.

        Args:
            loss: that it has without.
            lprobs: log-probabilities (tokens, vocabulary) of the active architecture.
            pads: (tokens), where there is nothing to learn.
            teacher: the largest architecture's; None: there are none.
            weight: of the soft targets (`inplace_distillation` by default).
            reduce: sum over the tokens.
        """
        if teacher is None:
            return loss
        soft = _divergence(lprobs, teacher[:], pads, reduce)
        weight = self.inplace_distillation if weight is None else weight
        return (1 - weight) * loss + weight * soft.view_as(loss)

    def release_teacher(self) -> Predictions:
        """Hands over the predictions that were kept."""
        teacher, self.kept = self.kept, None
        return teacher

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs what fairseq's criterion does and, with a teacher, :attr:`PARTS`."""
        super().reduce_metrics(logging_outputs)
        for name, unit in cls.PARTS.items():
            if any(name in log for log in logging_outputs):
                total, size = (sum(log.get(key, 0) for log in logging_outputs) for key in (name, "sample_size"))
                metrics.log_scalar(name, total / size / unit, size, round=3)


def _divergence(lprobs, teacher, pads, reduce: bool) -> torch.Tensor:
    """Returns KL(teacher || student) of each token, or their sum."""
    found = F.kl_div(lprobs, teacher, reduction="none", log_target=True).sum(-1).masked_fill(pads, 0.0)
    return found.sum() if reduce else found
