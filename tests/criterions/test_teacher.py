"""A teacher against its formula and against in-place distillation, for both families."""

from __future__ import annotations

import pytest
import torch
from fairseq.logging import metrics
from torch.nn import functional as F

from fairseq_mos.criterions.teacher import Teacher
from fairseq_mos.errors import UserError
from tests.criterions.kit import KITS

BOTH = pytest.mark.parametrize("kit", KITS.values(), ids=KITS)


@pytest.fixture
def teach(monkeypatch):
    """Returns a function that makes a network the teacher of every criterion with one, and counts its passes."""

    def make(network) -> list:
        passes = []
        network.register_forward_hook(lambda *_: passes.append(1))
        monkeypatch.setattr(Teacher, "_load", lambda self: network)
        return passes

    return make


def _grads(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@BOTH
def test_a_copy_of_the_student_teaches_nothing(kit, teach):
    model, sample, task = kit.supernet(), kit.batch(), kit.task()
    teach(model.extract())
    criterion = kit.criterion(task, teacher="x.pt", distillation_weight=1.0)
    loss, _, log = criterion(model.train(), sample)
    assert abs(float(log["distillation_loss"])) < 1e-5 and abs(float(loss)) < 1e-5
    labels = _grads(model, kit.stock(task)(model, sample)[0])
    assert _grads(model, criterion(model, sample)[0]).abs().max() < 1e-5 * labels.abs().max()


@BOTH
@pytest.mark.parametrize(("weight", "temperature"), [(0.3, 1.0), (0.3, 2.0), (1.0, 0.5)])
def test_the_loss_is_the_formula(kit, teach, weight, temperature):
    model, sample, task = kit.supernet(), kit.batch(), kit.task()
    teacher = model.extract(model.space.largest())
    teach(teacher)
    model.train().activate(model.space.smallest())
    options = {"distillation_weight": weight, "distillation_temperature": temperature}
    criterion = kit.criterion(task, teacher="x.pt", **options)
    loss, size, log = criterion(model, sample)
    labels, expected_size, stock = kit.stock(task)(model, sample)
    own, others = (kit.lprobs(network, sample, temperature) for network in (model, teacher))
    soft = temperature**2 * F.kl_div(own, others.exp(), reduction="sum")
    expected = (1 - weight) * labels + weight * soft
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(log["distillation_loss"], soft.detach(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(log["nll_loss"], stock.get("nll_loss", labels.detach()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(_grads(model, loss), _grads(model, expected), rtol=1e-4, atol=1e-4)
    assert size == expected_size and log["loss"] == loss.data and float(soft) > 0.5
    # Logged in bits a token.
    with metrics.aggregate(new_root=True) as found:
        task.reduce_metrics([log, log], criterion)
    values = found.get_smoothed_values()
    assert values["distillation_loss"] == pytest.approx(float(soft) / int(size) / 0.693147, abs=1e-3)
    assert values["ppl"] == pytest.approx(2 ** values["nll_loss"], rel=1e-2)


@BOTH
def test_the_largest_given_from_outside_is_in_place_distillation(kit, teach):
    model, sample, task = kit.supernet(), kit.batch(), kit.task()
    teach(model.extract(model.space.largest()))
    outside = kit.criterion(task, teacher="x.pt", distillation_weight=0.7)
    inside = kit.criterion(task, inplace_distillation=0.7)
    model.train().activate(model.space.largest())
    inside(model, sample, keep_teacher=True)
    largest = inside.release_teacher()
    model.activate(model.space.smallest())
    first, second = outside(model, sample)[0], inside(model, sample, teacher=largest)[0]
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(_grads(model, first), _grads(model, second), rtol=1e-4, atol=1e-5)


@BOTH
def test_an_update_asks_once_for_all_architectures(kit, teach):
    model, task = kit.supernet(), kit.task()
    passes = teach(kit.supernet().extract())
    criterion = kit.criterion(task, teacher="x.pt", distillation_weight=0.4)
    log, _ = kit.update(model, criterion, task)
    assert len(passes) == 1 and len(task.architectures(model.space, 0)) == 3
    parts = []
    for _, architecture in task.architectures(model.space, 0):
        model.activate(architecture)
        parts.append(kit.criterion(task, teacher="x.pt")(model, kit.batch())[2]["distillation_loss"])
    torch.testing.assert_close(log["distillation_loss"], sum(parts) / 3, rtol=1e-4, atol=1e-4)
    kit.update(model, criterion, task)
    assert len(passes) == 1 + 3 + 1, "another batch is another question"


@BOTH
def test_with_both_the_largest_learns_from_the_teacher_and_the_others_from_the_largest(kit, teach):
    model, sample, task = kit.supernet(), kit.batch(), kit.task()
    teacher = kit.supernet().extract(kit.supernet().space.smallest())
    teach(teacher)
    criterion = kit.criterion(task, teacher="x.pt", distillation_weight=0.4, inplace_distillation=1.0)
    _, grads = kit.update(model, criterion, task)
    model.zero_grad()
    outside, inside = kit.criterion(task, teacher="x.pt", distillation_weight=0.4), kit.criterion(task)
    largest = None
    for role, architecture in task.architectures(model.space, 0):
        model.activate(architecture)
        if role == "largest":
            outside(model, sample)[0].backward()
            inside(model, sample, keep_teacher=True)
            largest = inside.release_teacher()
        else:
            inside(model, sample, teacher=largest, weight=1.0)[0].backward()
    for parameter, grad in zip(model.parameters(), grads):
        expected = torch.zeros_like(grad) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-4)


@BOTH
def test_validation_measures_labels_and_opens_no_teacher(kit):
    model, sample, task = kit.supernet(), kit.batch(), kit.task()
    criterion = kit.criterion(task, teacher="missing.pt").eval()
    found, expected = criterion(model, sample), kit.stock(task)(model, sample)
    assert torch.equal(found[0], expected[0]) and found[2] == expected[2]
    with pytest.raises(UserError, match="--teacher: checkpoint missing.pt does not exist"):
        criterion.train()(model, sample)


@BOTH
def test_the_teacher_belongs_to_nobody(kit, teach):
    model, sample, task = kit.supernet(), kit.batch(), kit.task()
    network = kit.supernet().extract().train()
    teach(network)
    criterion = kit.criterion(task, teacher="x.pt")
    criterion(model.to(torch.bfloat16), sample)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16} and not network.training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert not criterion.state_dict() and not list(criterion.modules())[1:] and not list(criterion.parameters())


def test_drawing_of_dropout_does_not_depend_on_loading(teach, monkeypatch):
    kit = KITS["translation"]
    sample, task = kit.batch(), kit.task()

    def load(self):
        return kit.supernet().extract()

    monkeypatch.setattr(Teacher, "_load", load)
    model = kit.supernet(dropout=0.3).train()
    criterion = kit.criterion(task, teacher="x.pt")
    losses = []
    for _ in range(2):
        torch.manual_seed(7)
        losses.append(criterion(model, dict(sample))[0])
    assert torch.equal(*losses)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "x.pt", "distillation_weight": 1.5}, "--distillation-weight is 1.5, allowed: 0 to 1"),
        ({"teacher": "x.pt", "distillation_weight": -0.1}, "--distillation-weight is -0.1, allowed: 0 to 1"),
        ({"teacher": "x.pt", "distillation_weight": float("nan")}, "--distillation-weight is"),
        ({"teacher": "x.pt", "distillation_temperature": 0.0}, "--distillation-temperature is 0.0, allowed: above 0"),
        ({"teacher": "x.pt", "distillation_temperature": -2.0}, "--distillation-temperature is -2.0, allowed: above 0"),
        ({"distillation_weight": 0.7}, "--distillation-weight needs --teacher"),
        ({"distillation_temperature": 2.0}, "--distillation-temperature needs --teacher"),
        ({"teacher_architecture": "largest"}, "--teacher-architecture needs --teacher"),
        ({"inplace_distillation": 1.5}, "--inplace-distillation is 1.5, allowed: 0 to 1"),
    ],
)
def test_options_that_mean_nothing(kit, options, message):
    with pytest.raises(UserError) as caught:
        kit.criterion(kit.task(), **options)
    assert message in str(caught.value)
