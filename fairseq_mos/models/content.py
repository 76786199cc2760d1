"""What a checkpoint may hold, checked once when it is loaded: names, types and ranges, before anything is built."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

import torch
from fairseq import models as fairseq_models
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq_mos.arch.reading import is_inline
from fairseq_mos.documents import MAX_DEPTH, show
from fairseq_mos.errors import UserError
from fairseq_mos.families import FAMILIES
from fairseq_mos.families.base import Family
from fairseq_mos.ranges import POSITIONS, PROBABILITY, Range

_WIDTH = Range(int, 1, 1_000_000)
_DEPTH = Range(int, 0, 1000)
_HEADS = Range(int, 1, 10_000)
_EXPERTS = Range(int, 1, 1024)

# Of the models that are read here; None is left to the model where it is a default.
RANGES = (
    (re.compile(r"(.*_)?(embed|hidden|input|output|ffn_embed)_dim"), _WIDTH),
    (re.compile(r"(encoder|decoder)_layers"), _DEPTH),
    (re.compile(r"(encoder|decoder)_attention_heads"), _HEADS),
    (re.compile(r"max_(source_|target_)?positions"), POSITIONS),
    (re.compile(r"(.*_)?dropout|(encoder|decoder)_layerdrop"), PROBABILITY),
    (re.compile(r"num_experts|expert_rank"), _EXPERTS),
)
"""Patterns of the names of numeric model options, and what each may be."""

_LANGUAGE = re.compile(r"[\w.@+-]{1,64}")


def check_options(options: Mapping[str, object], where: str = "") -> None:
    """Checks the numbers among a model's options.

    Args:
        options: by name.
        where: what to put before a name in the message, such as the file.

    Raises:
        UserError: names the option and what is allowed.
    """
    for name, value in options.items():
        for pattern, allowed in RANGES:
            if value is not None and pattern.fullmatch(str(name)):
                allowed.check(f"{where}{name}", value)


def checked(state: dict, path: str) -> dict:
    """Returns a loaded checkpoint whose content can be relied on.

    Its configuration is plain: `model` keeps its kind, `task` and `criterion` are mappings whatever they were.

    Args:
        state: what :func:`fairseq.checkpoint_utils.load_checkpoint_to_cpu` returned.
        path: the checkpoint's file, for messages.

    Raises:
        UserError: names what is wrong.
    """
    where = f"checkpoint {path}: "
    for name, tensor in state["model"].items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise UserError(f"{where}model.{show(name)} is {show(tensor)}, expected a tensor")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UserError(f"{where}model.{name} is no dense tensor")
    cfg = state.get("cfg")
    if cfg is None:
        return state
    if not isinstance(cfg, DictConfig):
        raise UserError(f"{where}cfg is {show(cfg)}, expected a mapping")
    plain = {name: _group(value, f"{where}cfg.{name}") for name, value in _items(cfg)}
    for name in ("model", "task"):
        if not isinstance(plain.get(name), dict):
            raise UserError(f"{where}cfg.{name} is {show(plain.get(name))}, expected a mapping")
    check_options(plain["model"], f"{where}cfg.model.")
    for name in ("search_space_definition", "architecture_definition"):
        definition = plain["model"].get(name)
        # Anything else would be taken for the name of a file.
        if definition is not None and not (isinstance(definition, str) and is_inline(definition)):
            raise UserError(f"{where}cfg.model.{name} is {show(definition)}, expected a JSON object")
    for name in ("source_lang", "target_lang"):
        language = plain["task"].get(name)
        if language is not None and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            raise UserError(f"{where}cfg.task.{name} is {show(language)}, expected a language")
    if not isinstance(plain["task"].get("data"), (str, type(None))):
        raise UserError(f"{where}cfg.task.data is {show(plain['task']['data'])}, expected a folder")
    if isinstance(_raw(cfg, "model"), argparse.Namespace):
        # fairseq's named architectures fill in what is missing, in a namespace.
        plain["model"] = argparse.Namespace(**plain["model"])
    try:
        # A mapping of its own for every group: what was read is not resolved, and cannot be.
        state["cfg"] = OmegaConf.create(plain, flags={"allow_objects": True})
    except OmegaConfBaseException as error:
        raise UserError(f"{where}cfg cannot be read ({str(error).splitlines()[0]})") from error
    return state


def plain_config(cfg) -> dict:
    """Returns fairseq's configuration as plain values; options of legacy models, a namespace, included."""
    config = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    for name, value in config.items():
        if hasattr(value, "__dict__") and not isinstance(value, (dict, str)):
            config[name] = dict(vars(value))
    return without_interpolations(config)


def without_interpolations(config):
    """Leaves out the options whose text OmegaConf takes for more than text; their defaults take their place.

    What comes from a file must not be resolved: `${oc.env:SECRET}` would put a secret of whoever reads it into what
    he writes and shares. fairseq itself saves values that are resolved already.
    """
    if isinstance(config, dict):
        return {name: without_interpolations(value) for name, value in config.items() if not _special(value)}
    if isinstance(config, (list, tuple)):
        return [without_interpolations(value) for value in config if not _special(value)]
    return config


def with_defaults(options: dict | None, kind: type) -> dict:
    """Returns options of fairseq's configuration, plain, with the defaults of those that a file does not give."""
    return {**plain_config(OmegaConf.structured(kind)), **(options or {})}


def _special(value) -> bool:
    return isinstance(value, str) and ("${" in value or value == "???")


def family_of_options(model: object, where: str) -> Family:
    """Returns the family of the model in a configuration.

    Other models of fairseq are left out: they have other parts than those that are counted and measured here.

    Raises:
        UserError: no family knows the model.
    """
    get = model.get if isinstance(model, Mapping) or OmegaConf.is_config(model) else vars(model).get
    name = get("_name") or get("arch")
    kind = None
    if isinstance(name, str):
        kind = fairseq_models.ARCH_MODEL_REGISTRY.get(name) or fairseq_models.MODEL_REGISTRY.get(name)
    names = []
    for family in FAMILIES.values():
        if kind is not None and kind in map(fairseq_models.MODEL_REGISTRY.get, family.models):
            return family
        names += family.models
    raise UserError(f"{where} is of model {show(name)}, allowed: {', '.join(names[:-1])} and {names[-1]}")


def check_criterion(criterion: object, allowed: Sequence[str], where: str) -> None:
    """Checks that a criterion is one that measures the loss of a family's models.

    Raises:
        UserError: another one, or none.
    """
    name = criterion.get("_name") if OmegaConf.is_config(criterion) else None
    if name not in allowed:
        raise UserError(f"{where} was trained with criterion {show(name)}, allowed: {', '.join(allowed)}")


def _items(cfg: DictConfig):
    return [(name, _raw(cfg, name)) for name in cfg]


def _raw(cfg: DictConfig, name: str) -> object:
    value = cfg._get_node(name)
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=False, enum_to_str=True)
    return value._value()


def _group(value: object, where: str, depth: int = 0) -> object:
    """Returns plain data: numbers, text, lists and mappings; namespaces become mappings."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, (Mapping, list, tuple)):
        if depth > MAX_DEPTH:
            raise UserError(f"{where} is nested too deeply")
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, (str, int, float, bool)):
                    raise UserError(f"{where} has the key {show(name)}, expected text")
            return {name: _group(item, f"{where}.{name}", depth + 1) for name, item in value.items()}
        return [_group(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    raise UserError(f"{where} is {show(value)}, expected text, a number, a list or a mapping")
