"""Small supernets as files, for the exporters."""

from __future__ import annotations

import pytest

from fairseq_mos.families.translation import probe
from tests import toy
from tests.small import Small, small_supernet


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    """Decoder layers attend up to three encoder layers."""
    return small_supernet(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def exportable(tmp_path_factory) -> Small:
    """Memory is the last encoder layer; queries as wide as the embedding."""
    space = toy.space("embed", arbitrary_attention=[-1])
    return small_supernet(tmp_path_factory.mktemp("exportable"), space)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Untrained models do not end their translations."""
    monkeypatch.setattr(probe, "MAX_LENGTH", 12)
