"""Features of a latency predictor, by hand."""

from __future__ import annotations

import pytest

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.cost.features import features, layer_features, mean_features, mean_products
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.features import MEAN_NAMES, products
from tests.arch.samples import ARCHITECTURE, changed


@pytest.fixture
def arch():
    return Architecture.from_dict(ARCHITECTURE)


def test_means_by_hand(arch):
    expected = [96, 3, 448 / 3, 10 / 3, 64, 2, 160, 3, 4, 2]
    assert len(MEAN_NAMES) == 10 and mean_features(arch) == pytest.approx(expected)


def test_products_by_hand(arch):
    values = products(mean_features(arch))
    assert values[:10] == mean_features(arch)
    assert values[10:19] == pytest.approx([128, 320, 6, 8, 4, 320 * 64, 4 * 96, 448 * 96, 10])
    assert values[19:] == [0, 1, 0, 0, 0, 0]


def test_layers_follow_and_inactive_ones_are_zero(arch):
    space = SearchSpace.load("tiny")
    values = layer_features(space, arch)[25:]
    assert space.decoder.layers[0] == 3
    assert values[:6] == [256, 128, 64, 4, 2, 4]
    assert values[6:] == [64, 256, 0, 2, 4, 0, 4, 4, 0, 1, 3, 0]
    assert len(layer_features(space, space.largest())) == len(layer_features(space, space.smallest()))


def test_kinds(arch):
    space = SearchSpace.load("tiny")
    assert features("mean", space, arch) == mean_products(space, mean_features(arch))
    assert features("layers", space, arch) == layer_features(space, arch)
    with pytest.raises(UserError, match="'deep', allowed: layers, mean"):
        features("deep", space, arch)


def test_deeper_decoders_have_more_indicators(arch):
    space = SearchSpace.from_dict(changed(SearchSpace.load("tiny").to_dict(), "decoder.layers", [8, 2]))
    assert mean_products(space, mean_features(arch))[19:] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert mean_products(space, mean_features(space.largest()))[19:] == [0, 0, 0, 0, 0, 0, 0, 1]
