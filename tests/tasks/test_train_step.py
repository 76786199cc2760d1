"""One update: gradients add up over architectures and micro-batches, unused parameters get zeros."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.logging import metrics

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.families.translation.family import FAMILY
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy


@pytest.fixture
def task():
    cfg = SupernetTranslationConfig(seed=3)
    return SupernetTranslation(cfg, toy.dictionary(), toy.dictionary())


def _train_step(task, model, sample, update=0):
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1)
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    return task.train_step(sample, model, criterion, optimizer, update)


def test_gradients_are_the_sum_over_the_architectures(task):
    model, sample = toy.supernet(), toy.batch()
    loss, sample_size, log = _train_step(task, model, sample)
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    sampled = task.architectures(model.space, 0)
    assert [role for role, _ in sampled] == ["largest", "smallest", "random"]
    assert sample_size == 3 * sample["ntokens"], "the denominator counts the tokens of all architectures"

    model.zero_grad()
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1)
    losses = {}
    for role, architecture in sampled:
        model.activate(architecture)
        losses[role], _, _ = criterion(model, sample)
        losses[role].backward()
    for name, parameter in model.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, sum(losses.values()).detach())
    torch.testing.assert_close(log["loss"], sum(losses.values()).detach() / 3)
    for role, value in losses.items():
        torch.testing.assert_close(log[f"{role}_loss"], value.detach())


def _gradients(**options):
    """Gradients of an update, as the trainer divides them, and what is logged."""
    cfg = SupernetTranslationConfig(seed=3, **options)
    task = SupernetTranslation(cfg, toy.dictionary(), toy.dictionary())
    model = toy.supernet()
    _, size, log = _train_step(task, model, toy.batch())
    return [parameter.grad / size for parameter in model.parameters()], log


def test_random_ones_are_one_curve():
    """They are others at each update."""
    cfg = SupernetTranslationConfig(seed=3, num_random_archs=3)
    task = SupernetTranslation(cfg, toy.dictionary(), toy.dictionary())
    model, sample = toy.supernet(), toy.batch()
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1)
    _, _, log = _train_step(task, model, sample)
    assert not any(name.startswith("random2") for name in log)
    total = 0
    for role, architecture in task.architectures(model.space, 0):
        if role.startswith("random"):
            model.activate(architecture)
            total += criterion(model, sample)[0].item()
    with metrics.aggregate(new_root=True) as found:
        task.reduce_metrics([log], criterion)
    expected = total / (3 * sample["ntokens"]) / math.log(2)
    assert found.get_smoothed_values()["random_loss"] == pytest.approx(expected, abs=1e-3)


def test_sum_divides_by_the_tokens_of_one_architecture():
    (mean, log), (total, total_log) = _gradients(), _gradients(arch_gradient="sum")
    assert log == total_log
    for a, b in zip(mean, total):
        torch.testing.assert_close(3 * a, b)


@pytest.mark.parametrize("power", [0.5, -1.0])
def test_losses_are_weighted_by_cost(power):
    found, log = _gradients(loss_weight_by_cost=power)
    task = SupernetTranslation(SupernetTranslationConfig(seed=3), toy.dictionary(), toy.dictionary())
    model, flops = toy.supernet(), FAMILY.flops
    criterion, total = SupernetLabelSmoothedCrossEntropy(task, False, 0.1), 0
    for _, architecture in task.architectures(model.space, 0):
        model.activate(architecture)
        loss, size, _ = criterion(model, toy.batch())
        ((flops(architecture) / flops(model.space.largest())) ** power * loss / (3 * size)).backward()
        total += loss.detach() / 3
    for gradient, parameter in zip(found, model.parameters()):
        expected = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(log["loss"], total)


def test_unused_parameters_get_zero_gradients(task):
    model = toy.supernet()
    task.pinned = model.space.smallest()
    _train_step(task, model, toy.batch())
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    assert grads["decoder.layers.2.ffn.fc1.weight"].abs().sum() == 0
    assert grads["decoder.layers.0.ffn.fc1.weight"].abs().sum() > 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"routing": "shared", "modulation": "all"},
        {"routing": "low-rank", "expert_scope": "all"},
        {"routing": "split", "expert_scope": "all"},
        {"routing": "disentangled", "expert_scope": "all", "modulation": "all"},
    ],
)
def test_micro_batches_are_added_like_ranks(task, options):
    """((a1 + a2 + a3) + (b1 + b2 + b3)), bit for bit, as an all-reduce of two ranks adds them."""
    first, second = toy.batch(seed=1), toy.batch(seed=2)
    grads = []
    for batches in ([first], [second], [first, second]):
        model = toy.supernet(**options)
        for sample in batches:
            _train_step(task, model, sample)
        grads.append([parameter.grad for parameter in model.parameters()])
    for a, b, both in zip(*grads):
        assert torch.equal(a + b, both)


def test_validation_averages_the_representatives(task):
    model, sample = toy.supernet(), toy.batch()
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1)
    _, sample_size, log = task.valid_step(sample, model, criterion)
    roles = ("largest", "smallest", "random", "random2")
    assert sample_size == sample["ntokens"] and log["nsentences"] == 4
    torch.testing.assert_close(log["loss"], sum(log[f"{role}_loss"] for role in roles) / 4)
    assert len({log[f"{role}_loss"].item() for role in roles}) == 4


@pytest.mark.parametrize("criterion_name", ["cross_entropy", "supernet_label_smoothed_cross_entropy"])
def test_every_criterion_logs_each_role(task, criterion_name):
    """cross_entropy logs no nll_loss."""
    model, sample = toy.supernet(), toy.batch()
    criterion = CRITERION_REGISTRY[criterion_name]
    criterion = criterion(task, False) if criterion_name == "cross_entropy" else criterion(task, False, 0.1)
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    logs = [task.train_step(sample, model, criterion, optimizer, update)[2] for update in (0, 1)]
    _, _, valid = task.valid_step(sample, model, criterion)
    assert (valid["loss"] - valid["largest_loss"]).abs() > 1e-3
    with metrics.aggregate(new_root=True) as found:
        task.reduce_metrics(logs, criterion)
    values = found.get_smoothed_values()
    for role in ("largest", "smallest", "random"):
        loss = sum(log[f"{role}_loss"].item() for log in logs) / (2 * sample["ntokens"]) / math.log(2)
        assert values[f"{role}_loss"] == pytest.approx(loss, abs=1e-3)
        assert (f"{role}_nll_loss" in values) == (criterion_name != "cross_entropy")
