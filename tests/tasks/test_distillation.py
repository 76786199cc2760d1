"""In-place distillation in an update: who learns from what, and who has dropout."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.modules import FairseqDropout

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.errors import UserError
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy


def _update(model, sample=None, update=4, criterion_options=None, **options):
    """Runs one update; returns its log and all gradients."""
    task = SupernetTranslation(SupernetTranslationConfig(seed=3, **options), toy.dictionary(), toy.dictionary())
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1, **(criterion_options or {}))
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    torch.manual_seed(11)
    _, _, log = task.train_step(sample or toy.batch(), model, criterion, optimizer, update)
    return log, [parameter.grad for parameter in model.parameters()]


def test_students_alone_have_no_dropout():
    rates = {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.2}
    model = toy.supernet(**rates)
    plain, _ = _update(toy.supernet())
    kept, _ = _update(toy.supernet(**rates))
    off, _ = _update(model, student_dropout="off")
    for role in ("smallest", "random"):
        assert torch.equal(off[f"{role}_loss"], plain[f"{role}_loss"])
        assert not torch.equal(kept[f"{role}_loss"], plain[f"{role}_loss"])
    assert torch.equal(off["largest_loss"], kept["largest_loss"])
    assert not torch.equal(off["largest_loss"], plain["largest_loss"])
    model.activate(model.space.largest())
    assert {m.p for m in model.modules() if isinstance(m, FairseqDropout)} == {0.3, 0.2}, "and it is back"


def test_with_weight_one_labels_reach_the_students_through_the_teacher_alone():
    sample = toy.batch()
    with_others = {**sample, "target": sample["target"].where(sample["target"].lt(4), 53 - sample["target"])}
    distil = {"inplace_distillation": 1.0}
    (log, grads), (others, other_grads) = (
        _update(toy.supernet(), s, criterion_options=distil) for s in (sample, with_others)
    )
    assert not torch.equal(log["largest_nll_loss"], others["largest_nll_loss"])
    model = toy.supernet()
    model.activate(model.space.largest())
    criterion = SupernetLabelSmoothedCrossEntropy(SimpleNamespace(target_dictionary=toy.dictionary()), False, 0.1)
    differences = []
    for batch in (sample, with_others):
        model.zero_grad()
        criterion(model, batch)[0].backward()
        differences.append([torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()])
    # What the other labels change in an update is what they change for the largest.
    for a, b, (first, second) in zip(grads, other_grads, zip(*differences)):
        torch.testing.assert_close(a - b, first - second, atol=1e-4, rtol=1e-4)


def test_warm_up_starts_without_and_ends_with_the_full_weight():
    def grads(update, **criterion_options):
        return _update(toy.supernet(), update=update, criterion_options=criterion_options)[1]

    def same(first, second):
        return all(map(torch.equal, first, second))

    warm = {"inplace_distillation": 0.8, "distillation_warmup": 8}
    for first, second in zip(grads(0, **warm), grads(0)):  # of a loss that is computed in another way
        torch.testing.assert_close(first, second)
    assert same(grads(2, **warm), grads(2, inplace_distillation=0.2))
    assert same(grads(8, **warm), grads(8, inplace_distillation=0.8))
    assert not same(grads(8, **warm), grads(8))


@pytest.mark.parametrize("options", [{}, {"share_all_embeddings": False, "modulation": "all"}])
def test_from_features_students_learn_the_same(options):
    distil = {"inplace_distillation": 0.7}
    found = [
        _update(toy.supernet(**options), criterion_options={**distil, "distillation_features": features})
        for features in (False, True)
    ]
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    plain, _ = _update(toy.supernet(**options))
    assert abs(plain["random_loss"] - found[1][0]["random_loss"]) > 0.1


def test_features_are_what_is_kept():
    model, sample = toy.supernet(), toy.batch()
    criterion = SupernetLabelSmoothedCrossEntropy(
        SimpleNamespace(target_dictionary=toy.dictionary()), False, 0.1, 1.0, distillation_features=True
    )
    criterion(model.eval(), sample, keep_teacher=True)
    kept = criterion.release_teacher()
    assert kept.states.shape == (sample["target"].numel(), model.decoder.embed_dim)
    assert kept.weight.data_ptr() == model.decoder.embed_tokens.weight.data_ptr()
    lprobs = torch.log_softmax(model(**sample["net_input"])[0].flatten(0, 1), -1)
    torch.testing.assert_close(kept[:], lprobs)
    assert not kept[:].requires_grad


def test_features_without_distillation():
    task = SimpleNamespace(target_dictionary=toy.dictionary())
    with pytest.raises(UserError, match="--distillation-features needs --inplace-distillation"):
        SupernetLabelSmoothedCrossEntropy(task, False, 0.1, distillation_features=True)
