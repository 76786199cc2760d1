"""Loading supernets outside fairseq's own commands."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from fairseq import checkpoint_utils
from fairseq import models as fairseq_models
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError


def load_state(path: str) -> dict:
    """Loads a fairseq checkpoint safely.

    Raises:
        UserError: missing, truncated or forbidden content.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} does not exist")
    try:
        return checkpoint_utils.load_checkpoint_to_cpu(path)
    except UserError as error:
        # What the system says of seeking in a file that is cut off.
        if getattr(error.__cause__, "errno", None) == errno.EINVAL:
            raise UserError(f"checkpoint {path} is damaged or truncated") from error
        raise


def load_dictionary(file: str | Path, weights: Mapping[str, Tensor] | None = None, name: str = "") -> Dictionary:
    """Loads a dictionary.

    Args:
        file: the dictionary.
        weights: of a model, whose embedding must have a row for each entry.
        name: of that embedding, such as `encoder.embed_tokens.weight`.

    Raises:
        UserError: it is missing or damaged, or has another number of entries than the embedding.
    """
    dictionary = Dictionary.load(str(file))
    rows = len(dictionary) if weights is None else len(weights[name])
    if rows != len(dictionary):
        raise UserError(f"{file} has {len(dictionary)} entries, but the model was trained with {rows}")
    return dictionary


def space_of(state: dict, path: str) -> SearchSpace:
    """Returns the search space that a supernet checkpoint embeds.

    Raises:
        UserError: the checkpoint is no supernet's.
    """
    if not is_supernet(state):
        name = getattr(state["cfg"].model if state.get("cfg") else None, "_name", "unknown")
        raise UserError(f"{path} is no supernet: its model is {name}, expected mos_transformer")
    return SearchSpace.load(state["cfg"].model.search_space_definition)


def is_supernet(state: dict) -> bool:
    """Whether a loaded checkpoint is a supernet's."""
    model = state["cfg"].model if state.get("cfg") else None
    return model is not None and "arch_encoding" in model and bool(model.search_space_definition)


def load_space(path: str) -> SearchSpace:
    """Returns the search space of the supernet checkpoint at `path`."""
    return space_of(load_state(path), path)


def find_dictionaries(state: dict, path: str, data: str | None = None) -> tuple[Path, Path]:
    """Finds the source and target dictionaries of a checkpoint.

    Args:
        state: the loaded checkpoint.
        path: its file.
        data: folder to look in; by default beside the checkpoint, then where it was trained.

    Raises:
        UserError: they are in none of these folders.
    """
    task = state["cfg"].task
    trained_in = (task.get("data") or "").split(":")[0]
    folders = [Path(data)] if data else [Path(path).parent, Path(trained_in)]
    languages = (task.source_lang, task.target_lang)
    for folder in folders:
        if None in languages and folder.is_dir():
            languages = data_utils.infer_language_pair(str(folder))
        files = [folder / f"dict.{language}.txt" for language in languages]
        if all(file.is_file() for file in files):
            return files[0], files[1]
    looked = " or ".join(map(str, folders))
    if None in languages:
        raise UserError(
            f"{path} does not say its languages, and {looked} is no folder that fairseq-preprocess wrote, which would: "
            "give it with --data"
        )
    raise UserError(
        f"dict.{languages[0]}.txt and dict.{languages[1]}.txt of {path} are not in {looked}: give their folder "
        "(--data, data= in Python)"
    )


def load_supernet(state: dict, path: str, dictionaries: tuple[Path, Path]):
    """Builds the supernet of a loaded checkpoint, in eval mode.

    Raises:
        UserError: it is no supernet's, or the dictionaries do not fit it.
    """
    space_of(state, path)
    return load_model(state, path, dictionaries)


def load_model(state: dict, path: str, dictionaries: tuple[Path, Path]):
    """Builds the encoder-decoder of a loaded checkpoint, in eval mode: a supernet, a subnet or a stock model.

    Raises:
        UserError: the dictionaries do not fit the checkpoint, or its weights its configuration.
    """
    tables = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    if not state.get("cfg") or any(name not in state.get("model", {}) for name in tables):
        raise UserError(f"{path} is no checkpoint of a translation model")
    source, target = (load_dictionary(file, state["model"], name) for file, name in zip(dictionaries, tables))
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    model = fairseq_models.build_model(state["cfg"].model, task, from_checkpoint=True)
    try:
        model.load_state_dict(state["model"], model_cfg=state["cfg"].model)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: its weights do not fit its configuration ({reason[:300]})") from error
    return model.eval()
