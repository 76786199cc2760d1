"""Translation, for the contract."""

from __future__ import annotations

from types import SimpleNamespace

from fairseq_mos.families.translation.family import FAMILY
from tests import toy

KIT = SimpleNamespace(
    family=FAMILY, supernet=toy.supernet, inputs=lambda: toy.batch()["net_input"], logits=lambda out: out[0], added=0
)
