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
from fairseq_mos.families.translation.costs import flops, parameters

GOLDEN = json.loads((Path(__file__).parent.parent / "data/arch_golden.json").read_text())


def _sha(items) -> str:
    return hashlib.sha256("\n".join(map(str, items)).encode()).hexdigest()[:16]


def _digits(value: float) -> str:
    # From Python 3.12 on, sum() rounds floats in another way.
    return f"{value:.12g}"


def test_every_shipped_space_is_recorded():
    assert set(shipped_spaces()) == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_nothing_has_changed(name):
    space, golden = SearchSpace.load(name), GOLDEN[name]
    rng = random.Random(f"golden {name}")
    archs = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(100))]
    counted = [
        (counts.total, counts.no_embed)
        for arch in archs
        for counts in (
            parameters(arch, 1000, share="all"),
            parameters(arch, 1000, 900, "none", (True, False)),
            parameters(arch, 1000, 900, "decoder"),
        )
    ]
    assert golden == {
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
        "parameters": _sha(counted),
        "flops": _sha([(flops(arch), flops(arch, 23, 17, 1000)) for arch in archs]),
    }
