"""Both families' criterions with toy models: what tests of distillation run through alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.criterions.supernet_masked_lm import SupernetMaskedLM, SupernetMaskedLMConfig
from fairseq_mos.families.masked_lm.texts import made_up_dictionary
from fairseq_mos.tasks.supernet_masked_lm import SupernetMaskedLM as MaskedLMTask
from fairseq_mos.tasks.supernet_masked_lm import SupernetMaskedLMConfig as MaskedLMTaskConfig
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy
from tests.families.masked_lm import kit as masked_lm


@dataclass(frozen=True)
class Kit:
    """A family's toys.

    Attributes:
        supernet: makes a supernet of options.
        batch: makes a batch.
        task: makes the supernet's task of options.
        criterion: makes the criterion of a task and options.
        stock: fairseq's own criterion of a task.
    """

    supernet: Callable
    batch: Callable[[], dict]
    task: Callable
    criterion: Callable
    stock: Callable

    @staticmethod
    def real(sample: dict) -> torch.Tensor:
        """Where there is something to predict."""
        return sample["target"].ne(1)

    def lprobs(self, model, sample: dict, temperature: float = 1.0) -> torch.Tensor:
        """Log-probabilities (tokens to predict, vocabulary)."""
        return F.log_softmax(model(**sample["net_input"])[0][self.real(sample)] / temperature, dim=-1)

    def update(self, model, criterion, task, sample=None, number=0):
        """Runs an update; returns its log and all gradients."""
        optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
        torch.manual_seed(11)
        _, _, log = task.train_step(sample or self.batch(), model, criterion, optimizer, number)
        return log, [parameter.grad for parameter in model.parameters()]


def _translation_task(**options):
    return SupernetTranslation(SupernetTranslationConfig(seed=3, **options), toy.dictionary(), toy.dictionary())


def _masked_lm_task(**options):
    cfg = MaskedLMTaskConfig(seed=3, data="nowhere", **options)
    return MaskedLMTask(cfg, made_up_dictionary(masked_lm.VOCABULARY))


def _masked_lm_criterion(task, **options):
    return SupernetMaskedLM(SupernetMaskedLMConfig(tpu=False, **options), task)


def _masked_lm_supernet(**options):
    model = masked_lm.supernet(**options)
    # BERT begins with weights so small that all architectures would say the same.
    toy.disturb(model, lambda name: name.endswith("weight"))
    return model


def masked_batch() -> dict:
    """Three sentences, two of them padded, with some of their tokens masked."""
    tokens = masked_lm.tokens()
    rng = torch.Generator().manual_seed(5)
    masked = torch.rand(tokens.shape, generator=rng).lt(0.4) & tokens.ge(5)
    inputs = {"src_tokens": tokens.masked_fill(masked, masked_lm.VOCABULARY - 1), "src_lengths": tokens.ne(1).sum(1)}
    target = tokens.where(masked, torch.ones_like(tokens))
    return {"net_input": inputs, "target": target, "ntokens": int(tokens.ne(1).sum()), "nsentences": len(tokens)}


def _stock_translation(task):
    from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

    return LabelSmoothedCrossEntropyCriterion(task, False, 0.1)


def _stock_masked_lm(task):
    from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss

    return MaskedLmLoss(MaskedLmConfig(tpu=False), task)


KITS = {
    "translation": Kit(
        toy.supernet,
        toy.batch,
        _translation_task,
        lambda task, **options: SupernetLabelSmoothedCrossEntropy(task, False, 0.1, **options),
        _stock_translation,
    ),
    "masked_lm": Kit(_masked_lm_supernet, masked_batch, _masked_lm_task, _masked_lm_criterion, _stock_masked_lm),
}
