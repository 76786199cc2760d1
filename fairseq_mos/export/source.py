"""Finds a dense model and its surroundings, whatever it comes in."""

from __future__ import annotations

from pathlib import Path

from fairseq.dataclass.configs import DatasetConfig, GenerationConfig

from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.export.about import FORMS, read_about
from fairseq_mos.export.bundle import Bundle
from fairseq_mos.export.checkpoint import find_subwords, plain_config, subnet_config, with_defaults
from fairseq_mos.export.weights import read_network
from fairseq_mos.models.config import MosSubnetConfig
from fairseq_mos.models.loading import find_dictionaries, is_supernet, load_model, load_state
from fairseq_mos.models.mos_subnet import MosSubnet
from fairseq_mos.paths import is_file, is_folder


def load_bundle(
    path: str | Path, architecture: str | None = None, data: str | None = None, trust: bool = False
) -> Bundle:
    """Loads a model to run or to export.

    Args:
        path: a dense checkpoint, a supernet, or a folder (or its `.safetensors` file) that `fairseq-mos export`
            wrote in one of its formats but CTranslate2's.
        architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.
        data: folder with dictionaries and subword model; by default beside the checkpoint, then where it was
            trained.
        trust: of a folder of `torch.export` programs, load the programs themselves, which can run any code; else
            its weights in the network that the programs were exported from.

    Raises:
        UserError: unusable or missing files, or an architecture for a model that has one already.
    """
    path = str(path)
    if is_folder(path) or path.endswith(".safetensors"):
        if architecture is not None:
            raise UserError(f"{path} is a dense model, which has one architecture: give no other")
        folder = Path(path) if is_folder(path) else Path(path).parent
        about = read_about(folder)
        file = folder / FORMS[about.form]
        if about.form == "torch-export" and trust:
            # Costs seconds; nothing else needs it.
            from fairseq_mos.export import programs_model

            return programs_model.read(about, folder)
        if about.form == "torch-export" and not is_file(file):
            raise UserError(
                f"{folder} holds programs without {file.name}, and loading programs can run any code: export it anew, "
                "or say that you trust it (--trust of evaluate, trust=True in Python)"
            )
        return about.bundle(read_network(about, file))
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
    kinds = {"dataset": DatasetConfig, "generation": GenerationConfig}
    if isinstance(model, MosSubnet):
        kinds["model"] = MosSubnetConfig
    config.update({group: with_defaults(config.get(group), kind) for group, kind in kinds.items()})
    folders = [Path(data)] if data else [Path(path).parent, dictionaries[0].parent]
    subwords = next((file for folder in folders for file in find_subwords(folder)), None)
    tokenizer = config.get("tokenizer")
    if isinstance(tokenizer, dict):
        tokenizer = tokenizer.get("_name")
    return Bundle(model.eval(), config, dictionaries, subwords, tokenizer, name)
