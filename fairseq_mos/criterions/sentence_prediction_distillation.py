"""Sentence classification or regression with a fine-tuned teacher: labels and the teacher's answers, both.

No postponed annotations here: fairseq reads the field types at run time.
"""

import copy
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq import models as fairseq_models
from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from fairseq.logging import metrics
from omegaconf import OmegaConf
from torch.nn import functional as F

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError
from fairseq_mos.fields import ranged
from fairseq_mos.models.content import family_of_options
from fairseq_mos.models.loading import explained, load_state
from fairseq_mos.ranges import PROBABILITY, Range

_TEMPERATURE = Range(float, 0.0, 1000.0, above=True)
_POSITIONS = ".embed_positions.weight"


@dataclass
class DistillationConfig(SentencePredictionConfig):
    """Options of the criterion."""

    teacher: Optional[str] = field(
        default=None, metadata={"help": "checkpoint that was fine-tuned on the same task, with the same dictionary"}
    )
    distillation_weight: float = ranged(
        0.5, "weight of the teacher's answers; the labels have the rest (default: 0.5)", PROBABILITY
    )
    temperature: float = ranged(
        1.0, "of the probabilities of teacher and student; their loss is multiplied by its square (default: 1)",
        _TEMPERATURE,
    )  # fmt: skip


def soft_loss(logits: torch.Tensor, answers: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns the cross-entropy with a teacher's probabilities, summed over the examples.

    Args:
        logits: (batch, classes) of the student.
        answers: (batch, classes), logits of the teacher.
        temperature: of both; the square of it makes up for the gradients that it shrinks.
    """
    wanted = F.softmax(answers.float() / temperature, dim=-1)
    lprobs = F.log_softmax(logits.float() / temperature, dim=-1)
    return -(wanted * lprobs).sum() * temperature**2


def load_teacher(path: str, task, head: str):
    """Loads a teacher, in eval mode and without gradients.

    Args:
        path: a checkpoint that fairseq-train wrote for the task `sentence_prediction`.
        task: the student's task.
        head: name of the classification head.

    Raises:
        UserError: it is damaged, of another task, number of classes, kind of target or dictionary.
    """
    state = load_state(path)
    config = state.get("cfg")
    about = config.get("task") if config else None
    name = about.get("_name") if about else None
    where = f"--teacher {path}"
    if name != "sentence_prediction":
        raise UserError(f"{where} was trained for task {show(name)}, expected sentence_prediction")
    # Where fairseq's configuration keeps it; the task's own field is a reference to it.
    for group, option, own in (
        ("task", "num_classes", task.cfg.num_classes),
        ("criterion", "regression_target", task.cfg.regression_target),
    ):
        theirs = (config.get(group) or {}).get(option)
        if theirs != own:
            raise UserError(f"{where} has {option} {show(theirs)}, expected the student's, {own}")
    weights = state["model"]
    rows = next((len(value) for key, value in weights.items() if key.endswith(_POSITIONS)), None)
    out = weights.get(f"classification_heads.{head}.out_proj.weight")
    if rows is None or out is None or len(out) != task.cfg.num_classes:
        raise UserError(f"{where} has no head {head} of {task.cfg.num_classes} classes")
    table = next((len(value) for key, value in weights.items() if key.endswith(".embed_tokens.weight")), None)
    if table != len(task.source_dictionary):
        raise UserError(
            f"{where} has {table} tokens, but the student's dictionary {len(task.source_dictionary)}: they have to be "
            "the same"
        )
    options = copy.deepcopy(config.model)
    family_of_options(options, where)  # other models are not built from what a file says
    with explained(where):
        if OmegaConf.is_config(options):
            OmegaConf.set_struct(options, False)
        options.max_positions = rows - task.source_dictionary.pad() - 1
        model = fairseq_models.build_model(options, task, from_checkpoint=True)
        model.register_classification_head(head, num_classes=task.cfg.num_classes)
        model.load_state_dict(weights, model_cfg=options)
    return model.eval().requires_grad_(False)


@register_criterion("sentence_prediction_distillation", dataclass=DistillationConfig)
class SentencePredictionDistillation(SentencePredictionCriterion):
    """fairseq's `sentence_prediction`, and beside its labels the answers of a teacher while training.

    The teacher's classes give a soft cross-entropy; its numbers, in regression, a squared error. When nothing is
    trained the loss is that of the labels alone, so that losses of a valid set compare with those without a teacher.
    """

    def __init__(self, cfg: DistillationConfig, task):
        super().__init__(cfg, task)
        self.weight = PROBABILITY.check("--distillation-weight", cfg.distillation_weight)
        self.temperature = _TEMPERATURE.check("--temperature", cfg.temperature)
        self.path = cfg.teacher
        # In a list: as a module of the criterion it would be saved, and its parameters be optimised.
        self._teacher: list = []

    def begin_training(self, model) -> None:
        """Loads the teacher, which training alone asks: what is wrong with it is said before the first update.

        Raises:
            UserError: there is none, or it does not fit.
        """
        self.teacher(next(model.parameters()))

    def teacher(self, like: torch.Tensor):
        """Returns the teacher, on the device and in the precision of a tensor of the student's; loaded once.

        Raises:
            UserError: there is none, or it does not fit.
        """
        if not self._teacher:
            if not self.path:
                raise UserError("--criterion sentence_prediction_distillation needs --teacher CHECKPOINT")
            # Building it draws weights: a resumed training must draw what the uninterrupted one did.
            with torch.random.fork_rng():
                model = load_teacher(self.path, self.task, self.classification_head_name)
            self._teacher.append(model.to(like.device, like.dtype))
        return self._teacher[0]

    def forward(self, model, sample, reduce=True):
        """Computes the loss, summed over the examples; see fairseq's `sentence_prediction`.

        Returns:
            Loss, number of examples and logging output, in which `label_loss` and `soft_loss` are the parts.
        """
        if not model.training:
            return super().forward(model, sample, reduce)
        head = self.classification_head_name
        kept = []
        handle = model.classification_heads[head].register_forward_hook(lambda *call: kept.append(call[2]))
        try:
            label_loss, size, log = super().forward(model, sample, reduce)
        finally:
            handle.remove()
        logits = kept[0]
        with torch.no_grad():
            net_input = sample["net_input"]
            answers, _ = self.teacher(logits)(**net_input, features_only=True, classification_head_name=head)
        if self.regression_target:
            soft = F.mse_loss(logits.view(-1).float(), answers.view(-1).float(), reduction="sum")
        else:
            soft = soft_loss(logits, answers, self.temperature)
        loss = (1 - self.weight) * label_loss + self.weight * soft
        return loss, size, {**log, "loss": loss.data, "label_loss": label_loss.data, "soft_loss": soft.data}

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        """Logs what fairseq's criterion does, and both parts of the loss."""
        SentencePredictionCriterion.reduce_metrics(logging_outputs)
        size = sum(log.get("sample_size", 0) for log in logging_outputs)
        for name in ("label_loss", "soft_loss"):
            if any(name in log for log in logging_outputs):
                # In nats an example, or squared units: bits would be wrong for regression.
                metrics.log_scalar(name, sum(log.get(name, 0) for log in logging_outputs) / size, size, round=3)
