"""Model families: what a network is for. A family is a folder here and a line in :data:`FAMILIES`.

Only the shapes are loaded with the package; they are plain Python without torch or fairseq.
"""

from fairseq_mos.arch.schema import SCHEMAS
from fairseq_mos.families.translation.schema import SCHEMA as TRANSLATION

FAMILIES = {TRANSLATION.family: "fairseq_mos.families.translation.family"}
"""Name of a family -> the module that holds its `FAMILY`."""

SCHEMAS[TRANSLATION.family] = TRANSLATION
