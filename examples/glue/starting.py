"""What fine-tuning starts from: a dense checkpoint, and the flags of fairseq-train that build its network again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.work import digest_files

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of

NOT_FLAGS = {
    *("architecture_definition", "subnet", "max_positions", "load_checkpoint_heads", "dropout", "attention_dropout"),
    *("activation_dropout", "pooler_dropout", "encoder_layerdrop", "trainable", "checkpoint_activations"),
    *("search_space_definition", "search_space", "min_params_to_wrap"),
}
"""Options of a model that are files or come with one, or that belong to a training."""


@dataclass(frozen=True)
class Start:
    """A pretrained model.

    Attributes:
        path: its checkpoint.
        digest: of the file.
        arch: the model's name for `--arch`.
        flags: that build its network, by name.
        positions: longest input, in tokens.
        params: all parameters; those that are shared count once.
        params_no_embed: without embeddings and output layer.
        architecture: JSON, of a subnet.
        params_budget: of a subnet, as the published searches count.
    """

    path: Path
    digest: str
    arch: str
    flags: dict[str, list[str]]
    positions: int
    params: int
    params_no_embed: int
    architecture: str | None = None
    params_budget: int | None = None


def open_start(path: Path, dictionary: Path) -> Start:
    """Reads a checkpoint.

    Args:
        path: of a pretrained model, such as `fairseq-mos extract` writes it.
        dictionary: that the data was prepared with.

    Raises:
        UserError: it is damaged, a supernet's, of a model that is unknown here, or of another dictionary.
    """
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_REGISTRY

    from fairseq_mos.cost.measured import count_parameters
    from fairseq_mos.models.loading import is_supernet, load_model, load_state

    state = load_state(str(path))
    if is_supernet(state):
        raise UserError(f"{path} is a supernet: extract a subnet (fairseq-mos extract) and fine-tune that")
    if not state.get("cfg"):
        raise UserError(f"{path} has no configuration: expected a checkpoint that fairseq-train wrote")
    config = state["cfg"].model
    # An error of its own where it is no masked language model, or of another dictionary.
    model = load_model(state, str(path), (dictionary,))
    options = config if isinstance(config, Mapping) or hasattr(config, "keys") else vars(config)
    given = options.get("_name") or options.get("arch")
    name = ARCH_MODEL_NAME_REGISTRY.get(given, given)
    counted, definition = count_parameters(model), options.get("architecture_definition")
    architecture = Architecture.load(definition) if definition else None
    return Start(
        path=path.absolute(),
        digest=digest_files([path]),
        arch=name,
        flags=model_flags(MODEL_REGISTRY[name], options),
        # fairseq counts positions from behind that of padding.
        positions=len(model.encoder.sentence_encoder.embed_positions.weight) - model.encoder.dictionary.pad() - 1,
        params=counted.total,
        params_no_embed=counted.no_embed,
        architecture=definition,
        params_budget=family_of(architecture).counts(architecture)["params_budget"] if architecture else None,
    )


def model_flags(model: type, options: Mapping) -> dict[str, list[str]]:
    """Returns the flags that say what a checkpoint's options say.

    Args:
        model: fairseq's class of the model, which knows its flags.
        options: of the checkpoint.
    """
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    model.add_args(parser)
    found: dict[str, list[str]] = {}
    for action in parser._actions:
        value = options.get(action.dest)
        if action.dest in NOT_FLAGS or value is None or value == action.default:
            continue
        flag = next(name for name in action.option_strings if name.startswith("--"))
        if action.nargs == 0:
            if value:
                found[flag] = []
        else:
            found[flag] = [str(value)]
    return found
