"""A trained model as the teacher of a training: opened safely, frozen, asked once a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.models.opening import Opened, open_model


class Teacher:
    """Opens its checkpoint when a training begins, or when it is first asked; belongs to no module, so that no
    checkpoint or average holds it.

    Args:
        path: a checkpoint or an exported folder: whatever :func:`fairseq_mos.models.opening.open_model` opens.
        architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.
        family: that it must be of.
        task: of the training, whose dictionaries must be its own.
    """

    def __init__(self, path: str, architecture: str | None, family: str, task: Any):
        self.path, self.architecture, self.family = path, architecture, family
        self._task = task
        self._model: nn.Module | None = None
        self._sample: Mapping | None = None
        self._answer: Any = None

    def answer(self, student: nn.Module, sample: Mapping, ask: Callable[[nn.Module], Any]) -> Any:
        """Returns what the teacher says of a batch; what it said last is kept for others that ask about the same.

        Args:
            student: whose device and precision it has.
            sample: the batch.
            ask: runs the teacher and returns what is needed of its output.

        Raises:
            UserError: it cannot be loaded, does not fit the task, or takes no sentences as long as these.
        """
        if self._sample is sample:
            return self._answer
        # The answer to the last batch may be as large as anything that is computed for this one.
        self._sample = self._answer = None
        model = self.model(student)
        _check_length(self.path, model, sample)
        with torch.no_grad():
            answer = ask(model)
        self._sample, self._answer = sample, answer
        return answer

    def model(self, student: nn.Module) -> nn.Module:
        """Returns the teacher, loaded once: in eval mode, without gradients.

        Args:
            student: whose device and precision it has.

        Raises:
            UserError: it cannot be loaded, or does not fit the task.
        """
        if self._model is None:
            reference = next(student.parameters())
            # Building it draws weights: a resumed training must draw what the uninterrupted one did.
            with torch.random.fork_rng():
                try:
                    model = self._load()
                except UserError as error:
                    raise UserError(f"--teacher: {error}") from error
            self._model = model.to(reference.device, reference.dtype).eval().requires_grad_(False)
        return self._model

    def _load(self) -> nn.Module:
        opened = open_model(self.path)
        family = opened.family.schema.family
        if family != self.family:
            raise UserError(f"{self.path} is of family {family}, allowed: {self.family}")
        if opened.is_supernet and self.architecture is None:
            raise UserError(f"{self.path} is a supernet, which has many architectures: give --teacher-architecture")
        if self.architecture is not None and not opened.is_supernet:
            raise UserError(f"{self.path} has one architecture: leave --teacher-architecture out")
        model = _with_dictionaries(opened, self._task).model
        _check_dictionaries(self.path, model, self._task)
        if opened.is_supernet:
            model = model.extract(resolve(opened.space, self.architecture))
        return model


def _with_dictionaries(opened: Opened, task: Any) -> Opened:
    """Returns the model with its own dictionaries; with the data's, which it must have, where these are gone."""
    try:
        opened.dictionaries  # noqa: B018 (raises where they are missing)
    except UserError:
        return open_model(opened.path, task.cfg.data.split(":")[0])
    return opened


def _check_dictionaries(path: str, model: nn.Module, task: Any) -> None:
    reads, writes = model.encoder, getattr(model, "decoder", model.encoder)
    sides = (("source", reads, task.source_dictionary), ("target", writes, task.target_dictionary))
    for side, stack, wanted in sides:
        own = stack.dictionary
        if own.symbols != wanted.symbols:
            raise UserError(
                f"{path} has another {side} dictionary ({len(own)} entries) than the data ({len(wanted)}): a teacher "
                "and its students read and write the same tokens, so preprocess the data with its dictionary"
            )


def _check_length(path: str, model: nn.Module, sample: Mapping) -> None:
    limits = model.max_positions()
    limits = limits if isinstance(limits, tuple) else (limits,)
    for name, limit in zip(("src_tokens", "prev_output_tokens"), limits):
        length = sample["net_input"][name].shape[1]
        if limit is not None and length > limit:
            raise UserError(f"--teacher {path} takes {limit} tokens, but a sentence of the data has {length}")
