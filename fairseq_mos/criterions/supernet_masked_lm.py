"""Masked language model's loss of the architecture that is active, with optional distillation.

No postponed annotations here: fairseq reads the field types at run time.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.logging import metrics
from torch.nn import functional as F

from fairseq_mos.criterions import relations
from fairseq_mos.criterions.distillation import Distillation, DistillationConfig
from fairseq_mos.fields import ranged
from fairseq_mos.ranges import Range

_WEIGHT, _HEADS = Range(float, 0.0, 1e6), Range(int, 1, 1024)


@dataclass
class SupernetMaskedLMConfig(DistillationConfig, MaskedLmConfig):
    """Options of the criterion."""

    relation_weight: float = ranged(
        0.0,
        "weight of how tokens relate in the last layer of --teacher and student: queries to queries, keys to keys, "
        "values to values (MiniLMv2), beside predictions and labels (default: 0)",
        _WEIGHT,
    )
    relation_heads: int = ranged(
        12, "heads that queries, keys and values are split into for --relation-weight (default: 12)", _HEADS
    )
    hidden_weight: float = ranged(
        0.0,
        "weight of the mean squared difference of what the last layers of --teacher and student put out, which must be "
        "as wide (default: 0)",
        _WEIGHT,
    )


class Said(NamedTuple):
    """What a network says of a batch; None is not asked for.

    Attributes:
        lprobs: log-probabilities (masked tokens, vocabulary).
        relations: see :func:`fairseq_mos.criterions.relations.relations`.
        state: what its last layer puts out, (length, batch, width).
    """

    lprobs: Optional[torch.Tensor]
    relations: Optional[torch.Tensor]
    state: Optional[torch.Tensor]


@register_criterion("supernet_masked_lm", dataclass=SupernetMaskedLMConfig)
class SupernetMaskedLM(Distillation, MaskedLmLoss):
    """The loss of one architecture, fairseq's `masked_lm`; the task adds up those of an update.

    With a teacher it is for any model. What the last layers say adds to the loss of predictions and labels: a mean over
    tokens, times the number of masked ones, as whose sum training divides everything.
    """

    family = "masked_lm"
    options = SupernetMaskedLMConfig
    NEED_TEACHER = (*Distillation.NEED_TEACHER, "relation_weight", "relation_heads", "hidden_weight")
    PARTS = {**Distillation.PARTS, "relation_loss": math.log(2), "hidden_loss": 1.0}

    def __init__(self, cfg: SupernetMaskedLMConfig, task):
        super().__init__(cfg, task)
        self.begin(task, cfg)
        self.relation_weight, self.hidden_weight = cfg.relation_weight, cfg.hidden_weight
        self.relation_heads = cfg.relation_heads

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
        answer = self.asked(model, sample, lambda other: self._of_teacher(model, other, sample))
        if answer is None and teacher is None and not keep_teacher:
            return super().forward(model, sample, reduce)
        said = self._said(model, sample, "the student's", layers=answer is not None)
        masked = sample["target"].ne(self.padding_idx)
        target, size = sample["target"][masked], masked.int().sum()
        loss = labels = F.nll_loss(said.lprobs, target, reduction="sum" if reduce else "none")
        pads = target.eq(self.padding_idx)
        loss, parts = self.taught(loss, said.lprobs, pads, answer and answer.lprobs, reduce)
        loss = self.distilled(loss, said.lprobs, pads, teacher, weight, reduce)
        if keep_teacher:
            self.kept = said.lprobs.detach()
        if answer is not None:
            parts["nll_loss"] = labels.data
        if answer is not None and answer.relations is not None:
            apart = relations.relation_loss(said.relations, answer.relations, self._real(sample))
            loss = loss + self.relation_weight * apart * (size if reduce else 1)
            parts["relation_loss"] = (apart * size).data
        if answer is not None and answer.state is not None:
            apart = relations.hidden_loss(said.state, answer.state, self._real(sample))
            loss = loss + self.hidden_weight * apart * (size if reduce else 1)
            parts["hidden_loss"] = (apart * size).data
        log = {
            "loss": loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": size,
            **parts,
        }
        return loss, size, log

    def _real(self, sample) -> torch.Tensor:
        return sample["net_input"]["src_tokens"].ne(self.padding_idx)

    def _said(self, network, sample, whose: str, layers: bool) -> Said:
        masked = sample["target"].ne(self.padding_idx)
        if not layers or not (self.relation_weight or self.hidden_weight):
            scores = network(**sample["net_input"], masked_tokens=masked)[0]
            return Said(F.log_softmax(scores.float(), dim=-1), None, None)
        scores, extra = network(**sample["net_input"], masked_tokens=masked, return_all_hiddens=True)
        states, related = extra["inner_states"], None
        if self.relation_weight:
            vectors = relations.projections(network.encoder.sentence_encoder, states)
            related = relations.relations(vectors, self.relation_heads, self._real(sample), whose)
        return Said(F.log_softmax(scores.float(), dim=-1), related, states[-1] if self.hidden_weight else None)

    def _of_teacher(self, student, teacher, sample) -> Said:
        said = self._said(teacher, sample, "--teacher's", layers=True)
        if hasattr(student, "space") and getattr(self.task, "pinned", None) is None:
            heads = None if said.relations is None else self.relation_heads
            relations.check_space(student.space, heads, None if said.state is None else said.state.shape[-1])
        return said._replace(lprobs=self.softened(said.lprobs) if self.weight else None)

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs what the criterion does; with a teacher also the labels' part, as `nll_loss`, which `ppl` is of."""
        if any("nll_loss" in log for log in logging_outputs):
            total, size = (sum(log.get(key, 0) for log in logging_outputs) for key in ("nll_loss", "sample_size"))
            metrics.log_scalar("nll_loss", total / size / math.log(2), size, round=3)
            # The first of a name counts.
            metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
        super().reduce_metrics(logging_outputs)
