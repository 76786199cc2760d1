"""Binarised toy data and a plugin of the repairs alone."""

from __future__ import annotations

import pytest

from tests.fairseq_commands import write_corpus, write_plugin


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """A folder with binarised data (`bin`) and the plugin of the repairs alone (`repairs_only`)."""
    folder = tmp_path_factory.mktemp("compat")
    write_corpus(folder)
    write_plugin(folder)
    return folder
