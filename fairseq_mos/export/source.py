"""Finds a dense model and its surroundings, whatever it comes in."""

from __future__ import annotations

from pathlib import Path

from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.export import shared_folder
from fairseq_mos.export.about import read_about
from fairseq_mos.export.bundle import Bundle
from fairseq_mos.export.checkpoint import find_subwords, plain_config, subnet_config
from fairseq_mos.models.loading import find_dictionaries, is_supernet, load_model, load_state


def load_bundle(path: str | Path, architecture: str | None = None, data: str | None = None) -> Bundle:
    """Loads a model to run or to export.

    Args:
        path: a dense checkpoint, a supernet, or a folder (or its `.safetensors` file) that `fairseq-mos export`
            wrote in one of its formats but CTranslate2's.
        architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.
        data: folder with dictionaries and subword model; by default beside the checkpoint, then where it was
            trained.

    Raises:
        UserError: unusable or missing files, or an architecture for a model that has one already.
    """
    path = str(path)
    if Path(path).is_dir() or path.endswith(".safetensors"):
        if architecture is not None:
            raise UserError(f"{path} is a dense model, which has one architecture: give no other")
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        about = read_about(folder)
        if about.form == "torch-export":
            # Costs seconds; nothing else needs it.
            from fairseq_mos.export import programs_model

            return programs_model.read(about, folder)
        return shared_folder.read(about, folder)
    state = load_state(path)
    if not state.get("cfg"):
        raise UserError(f"{path} is no checkpoint of a translation model")
    dictionaries = find_dictionaries(state, path, data)
    model = load_model(state, path, dictionaries)
    if is_supernet(state):
        if architecture is None:
            raise UserError(
                f"{path} is a supernet, which has many architectures: give --architecture (architecture= in Python)"
            )
        chosen = resolve(model.space, architecture)
        config, model = subnet_config(state["cfg"], chosen, model.space), model.extract(chosen)
        name = f"{Path(path).stem}-{chosen.digest()}"
    elif architecture is not None:
        raise UserError(f"{path} is a dense model, which has one architecture: give no other")
    else:
        config, name = plain_config(state["cfg"]), Path(path).stem
    folders = [Path(data)] if data else [Path(path).parent, dictionaries[0].parent]
    subwords = next((file for folder in folders for file in find_subwords(folder)), None)
    tokenizer = config.get("tokenizer")
    if isinstance(tokenizer, dict):
        tokenizer = tokenizer.get("_name")
    return Bundle(model.eval(), config, dictionaries, subwords, tokenizer, name)
