"""A small supernet with a subnet of it, and the verb."""

from __future__ import annotations

import pytest

from fairseq_mos.cli import main
from fairseq_mos.export.checkpoint import extract_checkpoint
from tests.small import Small, small_supernet


@pytest.fixture(scope="package")
def small(tmp_path_factory) -> Small:
    made = small_supernet(tmp_path_factory.mktemp("evaluate"))
    extract_checkpoint(made.path, "random:1", str(made.folder / "one" / "subnet.pt"))
    return made


@pytest.fixture
def evaluate(small, tmp_path, capsys):
    """Returns a function that runs the verb and returns exit code, standard output and standard error."""

    def call(*arguments, test_set=small.folder / "test"):
        command = ["evaluate", "--test-set", str(test_set), "--output", str(tmp_path / "out"), "--cpu", "--beam", "2"]
        code = main([*command, "--bootstrap", "20", "--paired-trials", "20", *map(str, arguments)])
        return (code, *capsys.readouterr())

    return call
