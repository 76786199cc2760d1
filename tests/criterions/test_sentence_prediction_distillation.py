"""Distillation in fine-tuning: exact losses, a teacher that stays as it is, and teachers that do not fit."""

from __future__ import annotations

import math
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.data import Dictionary
from fairseq.logging import metrics
from fairseq.models.roberta import RobertaModel
from omegaconf import OmegaConf
from torch import nn

from fairseq_mos.criterions.sentence_prediction_distillation import (
    DistillationConfig,
    SentencePredictionDistillation,
    load_teacher,
    soft_loss,
)
from fairseq_mos.errors import UserError
from fairseq_mos.models.loading import load_state, save_state
from tests import glue_toy

HEAD = "sentence_classification_head"


class Fixed(nn.Module):
    """A model whose head gives these logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.classification_heads = nn.ModuleDict({HEAD: nn.Identity()})

    def forward(self, src_tokens, features_only, classification_head_name):
        return self.classification_heads[classification_head_name](self.logits * 1), {}

    def get_targets(self, sample, output):
        return sample["target"]


def task_of(symbols: Dictionary | None = None, classes: int = 2, regression: bool = False) -> SimpleNamespace:
    cfg = SimpleNamespace(num_classes=classes, regression_target=regression)
    return SimpleNamespace(cfg=cfg, source_dictionary=symbols, target_dictionary=symbols, label_dictionary=symbols)


def criterion_of(task, teacher=None, **options) -> SentencePredictionDistillation:
    cfg = DistillationConfig(regression_target=task.cfg.regression_target, **options)
    criterion = SentencePredictionDistillation(cfg, task)
    if teacher is not None:
        criterion._teacher.append(teacher)
    return criterion


def sample_of(target) -> dict:
    tokens = torch.zeros(len(target), 1, dtype=torch.long)
    return {"net_input": {"src_tokens": tokens}, "target": torch.tensor(target), "ntokens": len(target)}


# --- exact values ------------------------------------------------------------------------------------


def test_the_loss_is_half_labels_and_half_the_teachers_probabilities():
    # The student gives 3/4 and 1/4, the teacher 1/2 each, the label is the first class.
    student, teacher = Fixed([[math.log(3.0), 0.0]]), Fixed([[1.0, 1.0]])
    loss, size, log = criterion_of(task_of(), teacher)(student, sample_of([0]))
    labels, soft = -math.log(0.75), -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    assert size == 1
    assert loss.item() == pytest.approx(0.5 * labels + 0.5 * soft, rel=1e-6)
    assert log["label_loss"].item() == pytest.approx(labels, rel=1e-6)
    assert log["soft_loss"].item() == pytest.approx(soft, rel=1e-6)
    assert log["loss"].item() == loss.item() and log["ncorrect"] == 1


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 1.0), (0.3, 2.0), (1.0, 4.0)])
def test_weight_and_temperature(weight, temperature):
    draw = np.random.default_rng(1)
    ours, theirs, target = draw.normal(size=(5, 3)), draw.normal(size=(5, 3)), draw.integers(0, 3, 5)

    def probabilities(values):
        return np.exp(values) / np.exp(values).sum(-1, keepdims=True)

    labels = -np.log(probabilities(ours)[range(5), target]).sum()
    soft = -(probabilities(theirs / temperature) * np.log(probabilities(ours / temperature))).sum() * temperature**2
    task = task_of(classes=3)
    criterion = criterion_of(task, Fixed(theirs.tolist()), distillation_weight=weight, temperature=temperature)
    loss = criterion(Fixed(ours.tolist()), sample_of(target.tolist()))[0]
    assert loss.item() == pytest.approx((1 - weight) * labels + weight * soft, rel=1e-5)


def test_regression_learns_from_squared_errors():
    student, teacher = Fixed([[2.0], [1.0]]), Fixed([[3.0], [5.0]])
    loss, size, log = criterion_of(task_of(classes=1, regression=True), teacher)(student, sample_of([2.5, 1.0]))
    assert (size, log["label_loss"].item(), log["soft_loss"].item()) == (2, 0.25, 17.0)
    assert loss.item() == 0.5 * 0.25 + 0.5 * 17


def test_gradients_reach_the_student_alone():
    student, teacher = Fixed([[math.log(3.0), 0.0]]), Fixed([[1.0, 1.0]])
    criterion = criterion_of(task_of(), teacher)
    criterion(student, sample_of([0]))[0].backward()
    # The student's probabilities minus the mean of the label's and the teacher's.
    assert torch.allclose(student.logits.grad, torch.tensor([[0.75 - 0.75, 0.25 - 0.25]]), atol=1e-6)
    assert teacher.logits.grad is None
    assert list(criterion.parameters()) == [] and criterion.state_dict() == {}
    assert not student.classification_heads[HEAD]._forward_hooks


def test_a_high_temperature_keeps_the_size_of_gradients():
    logits = torch.tensor([[1.0, -1.0]], requires_grad=True)
    answers = torch.tensor([[-2.0, 2.0]])
    soft_loss(logits, answers, 100.0).backward()
    # In the limit: a half of the difference of the centred logits (Hinton et al. 2015, eq. 4).
    assert torch.allclose(logits.grad, torch.tensor([[1.5, -1.5]]), atol=1e-3)


def test_without_training_it_is_fairseqs_criterion_and_needs_no_teacher():
    student = Fixed([[0.3, -0.2], [0.1, 0.9]]).eval()
    sample, task = sample_of([0, 1]), task_of()
    plain = SentencePredictionCriterion(DistillationConfig(), task)(student, sample)
    ours = criterion_of(task)(student, sample)
    assert ours[0].item() == plain[0].item() and ours[2] == plain[2]


def test_it_logs_both_parts():
    logs = [
        {"loss": 3.0, "label_loss": 1.0, "soft_loss": 5.0, "ntokens": 2, "nsentences": 2, "sample_size": 2},
        {"loss": 0.0, "label_loss": 0.0, "soft_loss": 0.0, "ntokens": 2, "nsentences": 2, "sample_size": 2},
    ]
    with metrics.aggregate() as found:
        SentencePredictionDistillation.reduce_metrics(logs)
    assert found.get_smoothed_values()["label_loss"] == 0.25
    assert found.get_smoothed_values()["soft_loss"] == 1.25
    assert found.get_smoothed_values()["loss"] == pytest.approx(3 / 4 / math.log(2), abs=1e-3)


# --- the teacher -------------------------------------------------------------------------------------


@pytest.fixture
def symbols(tmp_path) -> Dictionary:
    found = Dictionary.load(str(glue_toy.dictionary(tmp_path)))
    found.add_symbol("<mask>")
    return found


def fine_tuned(folder, symbols, classes: int = 2, regression: bool = False, **task):
    """Writes a teacher as fairseq-train leaves one; it has other sizes than any student here."""
    path = glue_toy.roberta(folder, seed=3, width=8, name="teacher.pt")
    state = load_state(str(path))
    model = RobertaModel.build_model(Namespace(**state["cfg"].model), SimpleNamespace(source_dictionary=symbols))
    model.register_classification_head(HEAD, num_classes=classes)
    plain = OmegaConf.to_container(state["cfg"])
    plain["task"] = {"_name": "sentence_prediction", "num_classes": classes, "data": "", **task}
    plain["criterion"] = {"_name": "sentence_prediction", "regression_target": regression}
    save_state({**state, "cfg": plain, "model": model.state_dict()}, path)
    return str(path), model.eval()


def test_the_teacher_is_the_model_that_was_saved_in_eval_mode(tmp_path, symbols):
    path, model = fine_tuned(tmp_path, symbols)
    teacher = load_teacher(path, task_of(symbols), HEAD)
    assert not teacher.training and not any(parameter.requires_grad for parameter in teacher.parameters())
    tokens = torch.randint(4, len(symbols), (3, 9))
    expected = model(tokens, features_only=True, classification_head_name=HEAD)[0]
    # In training mode the dropout of 0.1 would show.
    assert torch.equal(teacher(tokens, features_only=True, classification_head_name=HEAD)[0], expected)


def test_a_training_step_loads_it_once(tmp_path, symbols):
    path, teacher = fine_tuned(tmp_path, symbols)
    criterion = criterion_of(task_of(symbols), teacher=None)
    criterion.path = path
    student = Fixed([[0.3, -0.2], [0.1, 0.9]])
    sample = sample_of([0, 1])
    sample["net_input"]["src_tokens"] = tokens = torch.randint(4, len(symbols), (2, 5))
    loss = criterion(student, sample)[0]
    answers = teacher(tokens, features_only=True, classification_head_name=HEAD)[0]
    labels = nn.functional.cross_entropy(student.logits, sample["target"], reduction="sum")
    assert loss.item() == pytest.approx((0.5 * labels + 0.5 * soft_loss(student.logits, answers, 1.0)).item())
    (tmp_path / "teacher.pt").unlink()
    assert criterion(student, sample)[0].item() == loss.item()


def test_a_training_begins_with_the_teacher_and_draws_what_it_did_without(tmp_path, symbols):
    path, _ = fine_tuned(tmp_path, symbols)
    criterion = criterion_of(task_of(symbols), distillation_weight=0.5)
    with pytest.raises(UserError, match="needs --teacher CHECKPOINT"):
        criterion.begin_training(nn.Linear(1, 1))
    criterion.path, student = path, nn.Linear(1, 1).double()
    state = torch.get_rng_state()
    criterion.begin_training(student)
    assert torch.equal(torch.get_rng_state(), state)
    assert next(criterion.teacher(torch.zeros(1)).parameters()).dtype == torch.float64, "the student's precision"


@pytest.mark.parametrize(
    ("saved", "student", "message"),
    [
        ({"classes": 3}, {}, "has num_classes 3, expected the student's, 2"),
        ({"classes": 1, "regression": True}, {"classes": 1}, "has regression_target True, expected .* False"),
        ({"_name": "masked_lm"}, {}, "was trained for task 'masked_lm', expected sentence_prediction"),
    ],
)
def test_teachers_of_other_tasks_are_refused(tmp_path, symbols, saved, student, message):
    path, _ = fine_tuned(tmp_path, symbols, **saved)
    with pytest.raises(UserError, match=message):
        load_teacher(path, task_of(symbols, **student), HEAD)


def test_teachers_of_another_dictionary_or_head_are_refused(tmp_path, symbols):
    path, _ = fine_tuned(tmp_path, symbols)
    with pytest.raises(UserError, match="has no head other of 2 classes"):
        load_teacher(path, task_of(symbols), "other")
    symbols.add_symbol("more")
    with pytest.raises(UserError, match="has 35 tokens, but the student's dictionary 36"):
        load_teacher(path, task_of(symbols), HEAD)


def test_a_missing_teacher_and_numbers_out_of_range(tmp_path, symbols):
    with pytest.raises(UserError, match="needs --teacher"):
        criterion_of(task_of())(Fixed([[0.0, 0.0]]), sample_of([0]))
    with pytest.raises(UserError, match="does not exist"):
        load_teacher(str(tmp_path / "nothing.pt"), task_of(symbols), HEAD)
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(UserError, match="text.pt"):
        load_teacher(str(tmp_path / "text.pt"), task_of(symbols), HEAD)
    with pytest.raises(UserError, match="--distillation-weight is 1.5, allowed: 0 to 1"):
        criterion_of(task_of(), distillation_weight=1.5)
    with pytest.raises(UserError, match="--temperature is 0.0, allowed: above 0"):
        criterion_of(task_of(), temperature=0.0)
