"""Model families: what a network is for. A family is a folder here and a line in :data:`FAMILIES`.

They are plain Python without torch or fairseq until they are asked for more than shapes and costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairseq_mos.arch.schema import FIRST, SCHEMAS
from fairseq_mos.families.translation.family import FAMILY as TRANSLATION

if TYPE_CHECKING:
    from fairseq_mos.arch import Architecture, SearchSpace
    from fairseq_mos.families.base import Family

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


register_family(TRANSLATION)
