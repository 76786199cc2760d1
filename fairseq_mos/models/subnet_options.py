"""The options of a dense subnet: its architecture, and the function that a trained one computes."""

from __future__ import annotations

from dataclasses import fields

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.models.config import REFUSED, SIZES, SubnetConfig, refuse_unsupported
from fairseq_mos.models.definitions import embed_in_config
from fairseq_mos.models.loading import is_supernet, load_state
from fairseq_mos.models.supernet import SizesOf, check_family, check_options
from fairseq_mos.paths import is_file

_FREE = {*SIZES, *REFUSED, "_name", "checkpoint_activations", "load_checkpoint_heads"}
"""Options that do not say which function a network is, besides dropout and those of every subnet."""


def read_subnet(cfg, kind: type, model: type, sizes_of: SizesOf) -> Architecture:
    """Returns the architecture of a subnet's options, which are checked.

    Where `--subnet` is an extracted checkpoint, the options that say which function its weights are of (where the
    norms are, the activation, shared embeddings, ...) become those of `cfg`. Dropout stays what it is: it is a matter
    of the training.

    Args:
        cfg: the options.
        kind: their dataclass.
        model: the subnet's class; its `family` is the architecture's.
        sizes_of: architecture -> what fairseq's size flags would have to say.

    Raises:
        UserError: no architecture, a malformed one, contradicting flags or a number out of range.
    """
    check_options(cfg, kind)
    if cfg.subnet and not cfg.architecture_definition and cfg.subnet.endswith(".pt") and is_file(cfg.subnet):
        _adopt(cfg, kind)
    source = cfg.architecture_definition or cfg.subnet
    if not source:
        raise UserError(f"{cfg._name or model.__name__} needs an architecture: give --subnet FILE")
    architecture = Architecture.load(source)
    check_family(architecture, model, f"--subnet {cfg.subnet or ''}: it")
    refuse_unsupported(cfg, sizes_of(architecture), cfg.subnet or "the checkpoint's architecture")
    return architecture


def _adopt(cfg, kind: type) -> None:
    """Writes an extracted subnet's architecture and network options into `cfg`, and into what checkpoints hold.

    Raises:
        UserError: the checkpoint is of another kind of model, or a flag says otherwise.
    """
    state = load_state(cfg.subnet)
    theirs = state["cfg"].model if state.get("cfg") else {}
    if is_supernet(state) or not theirs.get("architecture_definition"):
        what = "a supernet" if is_supernet(state) else "no subnet"
        raise UserError(f"--subnet {cfg.subnet} is {what}, expected what fairseq-mos extract wrote, or a YAML file")
    found = {}
    for field in fields(kind):
        name = field.name
        if name in _FREE or name.endswith("dropout") or name in SubnetConfig.__dataclass_fields__:
            continue
        value, given = theirs.get(name, field.default), getattr(cfg, name)
        if str(given) not in (str(value), str(field.default)):
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} is {given}, but {value} in --subnet {cfg.subnet}: leave the flag out")
        found[name] = value
    found |= {name: theirs.get(name) for name in ("architecture_definition", "search_space_definition")}
    for name, value in found.items():
        setattr(cfg, name, value)
    embed_in_config(cfg, "model", **found)
