"""Model families: what a network is for. A family is a folder here and a name in `_SHIPPED`.

They are plain Python without torch or fairseq until they are asked for more than shapes and costs. They are found by
name, as plug-ins are: what is beside the folders here knows none of them.
"""

from __future__ import annotations

import importlib
import sys

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.schema import FIRST, SCHEMAS
from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.families.base import Family

_SHIPPED = ("translation", "masked_lm")

FAMILIES: dict[str, Family] = {}
"""Name of a family -> the family."""


def register_family(family: Family) -> None:
    """Makes a family known: files, search spaces and verbs may name it."""
    FAMILIES[family.schema.family] = family
    SCHEMAS[family.schema.family] = family.schema


def family_of(described: SearchSpace | Architecture) -> Family:
    """Returns the family of a search space or of an architecture."""
    return FAMILIES[described.schema.family]


def family_of_model(model) -> Family:
    """Returns the family of a model, ours or one of fairseq's own; of any other, the first that there was."""
    name = getattr(model, "family", None)
    if name is not None:
        return FAMILIES[name]
    registry = getattr(sys.modules.get("fairseq.models"), "MODEL_REGISTRY", {})
    for family in FAMILIES.values():
        if isinstance(model, tuple(registry[known] for known in family.models if known in registry)):
            return family
    return FAMILIES[FIRST]


for _name in _SHIPPED:
    register_family(importlib.import_module(f"{__name__}.{_name}.family").FAMILY)
