"""A subnet's weights as a safetensors file, which cannot hold code, and the network that they and `arch.json` give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.models.about import ABOUT, About


def library():
    """Returns the library.

    Raises:
        UserError: it is missing.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError('this needs safetensors: pip install "fairseq-mos[export]"') from error
    return safetensors.torch


def write_weights(model: nn.Module, file: Path) -> None:
    """Writes a subnet's weights; tensors with several names are stored once.

    Raises:
        UserError: safetensors is missing.
    """
    stored: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        stored.setdefault(id(tensor), (name, tensor.detach().contiguous()))
    file.write_bytes(library().save(dict(stored.values()), metadata={"format": "pt"}))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads a safetensors file, which cannot hold code.

    Raises:
        UserError: it is missing or damaged, or safetensors is missing.
    """
    load = library().load
    try:
        return load(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except Exception as error:  # safetensors' own type of error derives from Exception alone
        raise UserError(f"{file} is damaged: {' '.join(str(error).split())[:200]}") from error


def read_network(about: About, file: Path) -> nn.Module:
    """Builds the subnet that a description and a file of weights describe; nothing of either is executed.

    Args:
        about: the description.
        file: the weights, with `arch.json` and the dictionaries beside them.

    Raises:
        UserError: a file that is missing or damaged, or files that do not fit each other.
    """
    tensors = read_tensors(file)
    family = family_of(about.architecture)
    task = family.task(about.data.dictionaries, tensors, str(file))

    def build() -> nn.Module:
        return family.network(about.model_config, task, about.architecture)

    try:
        # Without storage: sizes that the weights do not have should not take memory first.
        with torch.device("meta"):
            wanted = build().state_dict(keep_vars=True)
    except (RuntimeError, OverflowError, TypeError) as error:  # torch's, of sizes that no tensor can have
        raise UserError(f"{file.parent / ABOUT}: no such network can be built: {str(error).splitlines()[0]}") from error
    _add_further_names(tensors, wanted)
    difference = _difference(tensors, wanted)
    if difference is not None:
        raise UserError(f"{file} does not fit {file.parent / ABOUT}: {difference}")
    model = build()
    model.load_state_dict(tensors)
    return model.eval()


def _add_further_names(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Adds the names that :func:`write_weights` left out, in place."""
    stored = {id(tensor): name for name, tensor in wanted.items() if name in tensors}
    for name, tensor in wanted.items():
        if name not in tensors and id(tensor) in stored:
            tensors[name] = tensors[stored[id(tensor)]]


def _difference(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    for name, tensor in wanted.items():
        if name not in tensors:
            return f"{name} is missing"
        if _kind(tensors[name]) != _kind(tensor):
            return f"{name} is {_kind(tensors[name])}, expected {_kind(tensor)}"
    unknown = next((name for name in tensors if name not in wanted), None)
    return unknown and f"{unknown[:80]!r} is no part of the network"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
