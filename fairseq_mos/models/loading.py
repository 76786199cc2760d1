"""Loading and saving checkpoints outside fairseq's own commands."""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from fairseq import checkpoint_utils
from fairseq import models as fairseq_models
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fairseq_mos.arch import SearchSpace
from fairseq_mos.documents import parse_json
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.files import atomic_write
from fairseq_mos.models.content import checked, family_of_options
from fairseq_mos.paths import is_file


def load_state(path: str) -> dict:
    """Loads a fairseq checkpoint safely.

    Raises:
        UserError: missing, truncated or forbidden content.
    """
    if not is_file(path):
        raise UserError(f"checkpoint {path} does not exist")
    try:
        return checked(checkpoint_utils.load_checkpoint_to_cpu(path), path)
    except UserError as error:
        # What the system says of seeking in a file that is cut off.
        if getattr(error.__cause__, "errno", None) == errno.EINVAL:
            raise UserError(f"checkpoint {path} is damaged or truncated") from error
        raise


def save_state(state: dict, output: str | Path) -> None:
    """Writes a checkpoint's content.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_write(output, "wb") as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:  # torch's own way to say that the disk is full
            raise UserError(f"cannot write {output}: {' '.join(str(error).split())[:160]}") from error


def space_of(state: dict, path: str) -> SearchSpace:
    """Returns the search space that a supernet checkpoint embeds.

    Raises:
        UserError: the checkpoint is no supernet's.
    """
    if not is_supernet(state):
        name = getattr(state["cfg"].model if state.get("cfg") else None, "_name", "unknown")
        raise UserError(f"{path} is no supernet: its model is {name}, expected mos_transformer or mos_roberta")
    definition = state["cfg"].model.search_space_definition
    return SearchSpace.from_dict(parse_json(definition, f"the search space of {path}"), f"the search space of {path}")


def is_supernet(state: dict) -> bool:
    """Whether a loaded checkpoint is a supernet's."""
    model = state["cfg"].model if state.get("cfg") else None
    if model is None or "arch_encoding" not in model:
        return False
    return isinstance(getattr(model, "search_space_definition", None), str)


def load_model(state: dict, path: str, dictionaries: tuple[Path, ...]):
    """Builds the model of a loaded checkpoint, in eval mode: a supernet, a subnet or a model of fairseq's own.

    Raises:
        UserError: the dictionaries do not fit the checkpoint, or its weights its configuration.
    """
    config = state["cfg"].model
    task = family_of_options(config, path).task(dictionaries, state["model"], path, state["cfg"].task)
    with explained(path):
        # Without storage first: sizes that are not those of the weights must not exhaust the memory.
        with torch.device("meta"), _NoData():
            _check_shapes(fairseq_models.build_model(copy.deepcopy(config), task, from_checkpoint=True), state["model"])
        model = fairseq_models.build_model(config, task, from_checkpoint=True)
        model.load_state_dict(state["model"], model_cfg=config)
    return model.eval()


class _NoData(TorchFunctionMode):
    """Keeps tensors without storage where they are: fairseq's `roberta` is initialised by way of the CPU."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        return arguments[0] if function is Tensor.cpu else function(*arguments, **(keywords or {}))


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Says in one line that what a checkpoint describes cannot be built, or that its weights do not fit it.

    Raises:
        UserError: for whatever the block raises.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # of any module of fairseq or torch, for any option
        raise UserError(
            f"{path}: its weights do not fit its configuration ({type(error).__name__}: {one_line(error, 300)})"
        ) from error


def _check_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    wanted = 0
    for name, value in model.state_dict().items():
        wanted += value.numel()
        if name in weights and weights[name].shape != value.shape:
            raise UserError(
                f"{name} is of shape {tuple(weights[name].shape)}, but its configuration asks for {tuple(value.shape)}"
            )
    # Old checkpoints may name a tensor otherwise; but none leaves out more than half of the model.
    if wanted > 2 * sum(value.numel() for value in weights.values()) + 10**6:
        raise UserError(f"its configuration asks for {wanted:,} weights, which it does not have")
