"""Model families: what a network is for. A family is a folder here and a name in `_SHIPPED`.

They are plain Python without torch or fairseq until they are asked for more than shapes and costs. They are found by
name, as plug-ins are: what is beside the folders here knows none of them.
"""

from __future__ import annotations

import importlib

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.schema import FIRST, SCHEMAS
from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.families.base import Family

_SHIPPED = ("translation",)

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
    """Returns the family of a model; of one of fairseq's own, the first that there was."""
    return FAMILIES[getattr(model, "family", FIRST)]


for _name in _SHIPPED:
    register_family(importlib.import_module(f"{__name__}.{_name}.family").FAMILY)
