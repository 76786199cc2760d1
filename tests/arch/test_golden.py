"""Spaces, draws, digests, encodings, features and counts of the shipped spaces are what they have always been.

Files, checkpoints, search logs and latency data of earlier versions hold them: a change here makes those unreadable.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from fairseq_mos.arch import SearchSpace
from fairseq_mos.arch.encoding import encode
from fairseq_mos.arch.shipped import shipped_spaces
from fairseq_mos.cost.features import KINDS, features
from fairseq_mos.families import family_of
from fairseq_mos.families.translation.costs import flops, parameters

GOLDEN = json.loads((Path(__file__).parent.parent / "data/arch_golden.json").read_text())


def _sha(items) -> str:
    return hashlib.sha256("\n".join(map(str, items)).encode()).hexdigest()[:16]


def _digits(value: float) -> str:
    # From Python 3.12 on, sum() rounds floats in another way.
    return f"{value:.12g}"


def test_every_shipped_space_is_recorded():
    assert set(shipped_spaces()) == set(GOLDEN)


def _counted(archs) -> dict[str, str]:
    """Digests of what the family counts, with further ways of counting where there were some from the start."""
    if archs[0].schema.family != "translation":
        family = family_of(archs[0])
        sizing = family.sizing(vocabulary=1000)
        return {"counts": _sha([sorted(family.counts(arch, sizing).items()) for arch in archs])}
    counted = [
        (counts.total, counts.no_embed)
        for arch in archs
        for counts in (
            parameters(arch, 1000, share="all"),
            parameters(arch, 1000, 900, "none", (True, False)),
            parameters(arch, 1000, 900, "decoder"),
        )
    ]
    return {
        "parameters": _sha(counted),
        "flops": _sha([(flops(arch), flops(arch, 23, 17, 1000)) for arch in archs]),
    }


def recorded(name: str) -> dict:
    """What is recorded of a shipped space."""
    space = SearchSpace.load(name)
    rng = random.Random(f"golden {name}")
    archs = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(100))]
    return {
        "digest": space.digest(),
        "json": _sha([space.to_json()]),
        "size": str(space.size()),
        "genes": _sha([(gene.name, *gene.choices) for gene in space.genes]),
        "digests": [arch.digest() for arch in archs],
        "files": _sha([arch.to_json() for arch in archs]),
        "gene_values": _sha([space.to_genes(arch) for arch in archs]),
        "mean": _sha([[_digits(v) for v in encode(space, arch, "mean")] for arch in archs]),
        "full": _sha([[_digits(v) for v in encode(space, arch, "full")] for arch in archs]),
        "features": _sha(
            [[_digits(v) for kind in sorted(KINDS) for v in features(kind, space, arch)] for arch in archs]
        ),
        **_counted(archs),
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_nothing_has_changed(name):
    assert recorded(name) == GOLDEN[name]
