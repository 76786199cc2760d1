"""Architectures of an update with batches of their own."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from omegaconf import OmegaConf

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.errors import UserError
from fairseq_mos.models.config import MosTransformerConfig
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import fairseq_commands as commands
from tests import toy
from tests.supernet_commands import TRAIN, difference, workspace

BATCHES = [toy.batch(seed=seed) for seed in range(6)]


def _built(update_freq, from_checkpoint=False, **options):
    """A task with batches of their own and its model."""
    cfg = SupernetTranslationConfig(seed=3, arch_own_batches=True, **options)
    task = SupernetTranslation(cfg, toy.dictionary(), toy.dictionary())
    model = MosTransformerConfig(search_space_definition=toy.space().to_json(), dropout=0.0, router_dropout=0.0)
    model._name = "mos_transformer"
    root = OmegaConf.create({"model": OmegaConf.structured(model), "optimization": {"update_freq": update_freq}})
    return task, task.build_model(root.model, from_checkpoint)


def _update(task, model, batches, update=4):
    """Trains on the batches of one update; returns the sum of sizes and what is logged of each."""
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1)
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    steps = [task.train_step(batch, model, criterion, optimizer, update) for batch in batches]
    return sum(size for _, size, _ in steps), [log for _, _, log in steps], criterion


@pytest.mark.parametrize("share", [1, 2])
def test_each_architecture_learns_from_its_batches_alone(share):
    task, model = _built([3 * share])
    model.train()
    batches = BATCHES[: 3 * share]
    size, logs, criterion = _update(task, model, batches)
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    assert size == sum(batch["ntokens"] for batch in batches), "as many tokens as one network's update has"

    model.zero_grad()
    expected = {}
    sampled = task.architectures(model.space, 4)
    for place, (role, architecture) in enumerate(sampled):
        model.activate(architecture)
        for batch in batches[place * share : (place + 1) * share]:
            loss, tokens, _ = criterion(model, batch)
            loss.backward()
            total, count = expected.get(role, (0.0, 0))
            expected[role] = (total + loss.item(), count + tokens)
    for found, parameter in zip(ours, model.parameters()):
        torch.testing.assert_close(found, parameter.grad if parameter.grad is not None else torch.zeros_like(found))

    assert list(expected) == ["largest", "smallest", "random"]
    # As ranks hand them on: every key of the first is in all, and they can be added up.
    added = {key: sum(log[key] for log in logs) for key in logs[0]}
    for outputs in (logs, [added]):
        with metrics.aggregate(new_root=True) as found:
            task.reduce_metrics(outputs, criterion)
        for role, (total, count) in expected.items():
            value = total / count / math.log(2)
            assert found.get_smoothed_values()[f"{role}_loss"] == pytest.approx(value, abs=1e-3)


def test_an_update_that_begins_again_begins_with_the_first():
    """As with fp16, when it overflowed; and after a group of fewer batches, with which an epoch ends."""
    task, model = _built([3])
    for batches, update in ((BATCHES[:3], 4), (BATCHES[:3], 4), (BATCHES[:2], 5), (BATCHES[:3], 6)):
        _, logs, _ = _update(task, model, batches, update)
        roles = [next(role for role in ("largest", "smallest", "random") if log[f"{role}_loss"] > 0) for log in logs]
        assert roles == ["largest", "smallest", "random"][: len(batches)]
        assert all(sum(log[f"{role}_ntokens"] > 0 for role in ("largest", "smallest", "random")) == 1 for log in logs)


def test_a_pinned_architecture_has_all_batches():
    task, model = _built([2], architecture="smallest", num_random_archs=0)
    size, logs, _ = _update(task, model, BATCHES[:2])
    assert size == sum(batch["ntokens"] for batch in BATCHES[:2])
    assert all(log["pinned_loss"] == log["loss"] for log in logs)


@pytest.mark.parametrize(
    ("update_freq", "options", "message"),
    [
        ([1], {}, "3 architectures: --update-freq is 1, allowed: one that makes a multiple of 3"),
        ([4], {}, "3 architectures: --update-freq is 4, allowed: one that makes a multiple of 3"),
        ([3, 6], {}, "3 architectures: --update-freq is 3,6, allowed: one that makes a multiple of 3"),
        ([3], {"arch_sampling": "uniform", "num_random_archs": 2}, "2 architectures: --update-freq is 3"),
    ],
)
def test_batches_that_cannot_be_dealt_out_are_refused(update_freq, options, message):
    with pytest.raises(UserError, match=f"^--arch-own-batches deals the batches of an update out to {message}"):
        _built(update_freq, **options)
    # A checkpoint's options do not hinder who evaluates it.
    _built(update_freq, from_checkpoint=True, **options)


def test_the_largest_cannot_teach_from_other_batches():
    task, _ = _built([3])
    name = "supernet_label_smoothed_cross_entropy"
    cfg = OmegaConf.create({"_name": name, "inplace_distillation": 0.5, "sentence_avg": False})
    with pytest.raises(UserError, match="^--inplace-distillation does not go with --arch-own-batches"):
        task.build_criterion(cfg)


def test_commands(tmp_path):
    """Stopped and resumed equals uninterrupted, two ranks equal one process with twice the batches."""
    folder = workspace(tmp_path)
    # Ranks add up gradients in another order, and without the epsilon Adam makes steps of rounding noise.
    exact = [*TRAIN, "--adam-eps", "0.001", "--max-epoch", "9"]
    own = [*exact, "--arch-own-batches", "--update-freq"]
    steps = [[*own, "6", "--max-update", str(updates), "--save-dir", "one"] for updates in (2, 5)]
    steps.append([*own, "6", "--max-update", "5", "--save-dir", "whole"])
    steps.append([*own, "3", "--max-update", "5", "--save-dir", "less"])
    # Six architectures on two processes: each of a process's batches is another one's.
    more = [*exact, "--arch-own-batches", "--num-random-archs", "4", "--max-update", "5", "--update-freq"]
    steps.append([*more, "6", "--save-dir", "six", "--log-file", "six.log"])
    log = commands.run_steps(steps, folder)
    assert "random_nll_loss" in log.stderr + log.stdout
    launcher = ["bash", str(commands.ROOT / "examples" / "launch_cpu.sh"), "2"]
    commands.run([*launcher, *own, "3", "--max-update", "5", "--save-dir", "two"], folder)
    commands.run([*launcher, *more, "3", "--save-dir", "three", "--log-file", "three.log"], folder)
    # Processes hash differently, so a set's order, in which fairseq would add roles up, differs between them.
    texts = [(folder / name).read_text() for name in ("six.log", "three.log")]
    logged = [re.findall(r"\b(\w+_loss)[ =]+([\d.]+)", text) for text in texts]
    assert len(logged[0]) > 20 and {"largest_loss", "smallest_loss", "random_loss"} <= dict(logged[0]).keys()
    assert [role for role, _ in logged[0]] == [role for role, _ in logged[1]]
    for (role, ours), (_, theirs) in zip(*logged):
        assert float(ours) == pytest.approx(float(theirs), abs=2e-3), role
    refused = commands.run([*launcher, *more, "2", "--save-dir", "bad"], folder, check=False)
    assert "--update-freq is 2 on 2 processes, allowed: one that makes a multiple of 6" in refused.stderr
    assert difference(folder / "six/checkpoint_last.pt", folder / "three/checkpoint_last.pt") < 1e-6
    one, whole, two, less = (folder / name / "checkpoint_last.pt" for name in ("one", "whole", "two", "less"))
    assert difference(one, whole) == 0
    assert difference(one, two) < 1e-6
    assert difference(one, less) > 1e-3
