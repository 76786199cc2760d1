from __future__ import annotations

import random

import pytest

from fairseq_mos.arch import ENCODINGS, Architecture, SearchSpace, encode, encoding_dim, shipped_spaces
from fairseq_mos.errors import UserError
from tests.arch.samples import ARCHITECTURE


def test_mean_encoding_of_a_known_architecture():
    arch = Architecture.from_dict(ARCHITECTURE)
    expected = (
        1.0,
        1.0,
        (256 + 128 + 64) / 3 / 256,
        (4 + 2 + 4) / 3 / 4,
        64 / 96,
        2 / 3,
        (64 + 256) / 2 / 256,
        (2 + 4) / 2 / 4,
        1.0,
        (1 + 3) / 2 / 3,
    )
    assert encode(SearchSpace.load("tiny"), arch, "mean") == pytest.approx(expected, abs=1e-15)


def test_full_encoding_of_a_known_architecture():
    arch = Architecture.from_dict(ARCHITECTURE)
    expected = [1.0, 1.0, 1.0, 0.5, 0.25, 1.0, 0.5, 1.0]
    expected += [64 / 96, 2 / 3, 0.25, 1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 0.0, 1 / 3, 1.0, 0.0]
    assert encode(SearchSpace.load("tiny"), arch, "full") == pytest.approx(tuple(expected), abs=1e-15)


def test_maxima_are_the_space_s_own():
    # In a space without arbitrary attention one memory state is the maximum.
    space = SearchSpace.load("wmt_exportable")
    assert encode(space, space.largest(), "mean") == (1.0,) * 10
    assert encode(space, space.smallest(), "mean") == pytest.approx(
        (0.8, 1, 1 / 3, 0.5, 0.8, 1 / 6, 1 / 3, 0.5, 0.5, 1)
    )
    wmt = SearchSpace.load("wmt")
    assert encode(wmt, wmt.smallest(), "mean")[-1] == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", shipped_spaces())
@pytest.mark.parametrize("kind", sorted(ENCODINGS))
def test_lengths_range_and_largest(name, kind):
    space, rng = SearchSpace.load(name), random.Random(2)
    dim = encoding_dim(space, kind)
    if space.schema.family == "translation":
        assert dim == (10 if kind == "mean" else 4 + 2 * space.encoder.layers[0] + 4 * space.decoder.layers[0])
    else:
        bottlenecks = {"mean": 1, "full": 12} if space.encoder.hidden_dims else {"mean": 0, "full": 0}
        assert dim == 4 + bottlenecks[kind]
    assert encode(space, space.largest(), kind) == (1.0,) * dim
    for _ in range(50):
        values = encode(space, space.sample(rng), kind)
        assert len(values) == dim and all(0 <= value <= 1 for value in values)


def test_full_encoding_has_40_values_for_wmt_and_tells_architectures_apart():
    space, rng = SearchSpace.load("wmt"), random.Random(3)
    assert encoding_dim(space, "full") == 40
    architectures = {space.sample(rng) for _ in range(500)}
    assert len({encode(space, arch, "full") for arch in architectures}) == len(architectures)


def test_unknown_kind_is_named():
    space = SearchSpace.load("tiny")
    for call in (lambda: encoding_dim(space, "median"), lambda: encode(space, space.largest(), "median")):
        with pytest.raises(UserError, match="^architecture encoding is 'median', allowed: mean, full$"):
            call()
