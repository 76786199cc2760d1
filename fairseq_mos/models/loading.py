"""Loading supernets outside fairseq's own commands."""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from fairseq import checkpoint_utils
from fairseq import models as fairseq_models
from fairseq.data import Dictionary, data_utils
from torch import Tensor, nn

from fairseq_mos.arch import SearchSpace
from fairseq_mos.documents import parse_json
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.models.content import check_model_name, checked
from fairseq_mos.paths import is_file, is_folder


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


def load_dictionary(
    file: str | Path, weights: Mapping[str, Tensor] | None = None, name: str = "", task: Mapping | None = None
) -> Dictionary:
    """Loads a dictionary.

    Args:
        file: the dictionary.
        weights: of a model, whose embedding must have a row for each entry.
        name: of that embedding, such as `encoder.embed_tokens.weight`.
        task: configuration of the task that the model was trained for, which may have added entries.

    Raises:
        UserError: it is missing or damaged, or has another number of entries than the embedding.
    """
    dictionary = Dictionary.load(str(file))
    rows = len(dictionary) if weights is None else len(weights[name])
    if rows > len(dictionary) and task is not None and task.get("_name") == "translation_multi_simple_epoch":
        _add_languages(dictionary, task)
    if rows != len(dictionary):
        raise UserError(f"{file} has {len(dictionary)} entries, but the model was trained with {rows}")
    return dictionary


def _add_languages(dictionary: Dictionary, task: Mapping) -> None:
    """Adds the entries that fairseq's multilingual task adds, one for each language and purpose."""
    from fairseq.data.multilingual.multilingual_utils import augment_dictionary

    pairs = task.get("lang_pairs") or []
    pairs = pairs.split(",") if isinstance(pairs, str) else pairs
    languages = task.get("langs") or sorted({language for pair in pairs for language in str(pair).split("-")})
    specs = task.get("langtoks_specs") or ["main"]
    style = task.get("lang_tok_style") or "multilingual"
    augment_dictionary(dictionary, list(languages), style, specs, task.get("extra_data"))


def space_of(state: dict, path: str) -> SearchSpace:
    """Returns the search space that a supernet checkpoint embeds.

    Raises:
        UserError: the checkpoint is no supernet's.
    """
    if not is_supernet(state):
        name = getattr(state["cfg"].model if state.get("cfg") else None, "_name", "unknown")
        raise UserError(f"{path} is no supernet: its model is {name}, expected mos_transformer")
    definition = state["cfg"].model.search_space_definition
    return SearchSpace.from_dict(parse_json(definition, f"the search space of {path}"), f"the search space of {path}")


def is_supernet(state: dict) -> bool:
    """Whether a loaded checkpoint is a supernet's."""
    model = state["cfg"].model if state.get("cfg") else None
    if model is None or "arch_encoding" not in model:
        return False
    return isinstance(getattr(model, "search_space_definition", None), str)


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
    if not state.get("cfg"):
        raise UserError(f"{path} is no checkpoint of a translation model")
    task = state["cfg"].task
    trained_in = (task.get("data") or "").split(":")[0]
    folders = [Path(data)] if data else [Path(path).parent, Path(trained_in)]
    languages = (task.get("source_lang"), task.get("target_lang"))
    pairs = task.get("lang_pairs")
    pairs = pairs.split(",") if isinstance(pairs, str) else pairs
    if None in languages and pairs and len(pairs) == 1 and str(pairs[0]).count("-") == 1:
        languages = tuple(str(pairs[0]).split("-"))
    for folder in folders:
        if None in languages and is_folder(folder):
            languages = data_utils.infer_language_pair(str(folder))
        files = [folder / f"dict.{language}.txt" for language in languages]
        if all(is_file(file) for file in files):
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
    if not state.get("cfg") or any(name not in state["model"] for name in tables):
        raise UserError(f"{path} is no checkpoint of a translation model")
    for name in tables:
        if state["model"][name].dim() != 2:
            shape = tuple(state["model"][name].shape)
            raise UserError(f"{path}: {name} is of shape {shape}, expected a table of entries by width")
    config = state["cfg"].model
    check_model_name(config, path)
    source, target = (
        load_dictionary(file, state["model"], name, state["cfg"].task) for file, name in zip(dictionaries, tables)
    )
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    with explained(path):
        # Without storage first: sizes that are not those of the weights must not exhaust the memory.
        with torch.device("meta"):
            _check_shapes(fairseq_models.build_model(copy.deepcopy(config), task, from_checkpoint=True), state["model"])
        model = fairseq_models.build_model(config, task, from_checkpoint=True)
        model.load_state_dict(state["model"], model_cfg=config)
    return model.eval()


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
