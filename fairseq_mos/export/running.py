"""Runs what was exported, to see whether it answers as the original does."""

from __future__ import annotations

from pathlib import Path

from fairseq_mos.families.base import Family
from fairseq_mos.formats import Exporter
from fairseq_mos.models.opening import load_bundle


def run(exporter: Exporter, family: Family, place: Path, inputs: list) -> list:
    """Returns what the model that was written makes of the inputs of its family's probe.

    Args:
        exporter: wrote it.
        family: of the model.
        place: the file or folder.
        inputs: see :meth:`fairseq_mos.families.base.Family.probe`.
    """
    code = exporter.code(family.schema.family)
    if hasattr(code, "run"):
        return code.run(place, inputs)
    # What was just written is ours to trust: it is the programs, say, that are checked.
    bundle = load_bundle(place, trust=True)
    return family.probe().run(bundle, inputs)
