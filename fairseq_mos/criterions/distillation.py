"""In-place distillation: the largest architecture of an update as the teacher of the others.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass
from typing import Optional

import torch
from fairseq.dataclass import FairseqDataclass
from torch.nn import functional as F

from fairseq_mos.fields import ranged
from fairseq_mos.ranges import PROBABILITY, UPDATES


@dataclass
class InplaceConfig(FairseqDataclass):
    """Options of in-place distillation."""

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


class Inplace:
    """Mixed into a criterion (BigNAS, section 3.1)."""

    teacher: Optional[torch.Tensor] = None

    def begin(self, inplace_distillation: float, distillation_warmup: int) -> None:
        """Takes the options, at the end of construction."""
        self.inplace_distillation = PROBABILITY.check("--inplace-distillation", inplace_distillation)
        self.distillation_warmup = UPDATES.check("--distillation-warmup", distillation_warmup)

    def distillation_weight(self, update: int) -> float:
        """Returns the weight of the soft targets at an update."""
        if update >= self.distillation_warmup:
            return self.inplace_distillation
        return self.inplace_distillation * update / self.distillation_warmup

    def distilled(self, loss, lprobs, pads, teacher, keep_teacher: bool, weight: Optional[float], reduce: bool):
        """Mixes the loss with the soft targets of a teacher, or keeps what this architecture says as the teacher.

        Args:
            loss: of the labels.
            lprobs: log-probabilities (tokens, vocabulary) of the active architecture.
            pads: (tokens), where there is nothing to learn.
            teacher: the largest architecture's log-probabilities.
            keep_teacher: keep this architecture's as `self.teacher`, for :meth:`release_teacher`.
            weight: of the soft targets (`inplace_distillation` by default).
            reduce: sum over the tokens.
        """
        if keep_teacher:
            self.teacher = lprobs.detach()
            return loss
        soft = F.kl_div(lprobs, teacher, reduction="none", log_target=True).sum(-1).masked_fill(pads, 0.0)
        weight = self.inplace_distillation if weight is None else weight
        return (1 - weight) * loss + weight * (soft.sum() if reduce else soft)

    def release_teacher(self) -> torch.Tensor:
        """Hands over the log-probabilities that were kept."""
        teacher, self.teacher = self.teacher, None
        return teacher
