"""A supernet's subnet and a dense model go through the same measurement."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce.measure import measure  # noqa: E402

from fairseq_mos.arch.select import resolve  # noqa: E402
from fairseq_mos.errors import UserError  # noqa: E402
from fairseq_mos.export.checkpoint import extract_checkpoint  # noqa: E402
from tests import toy  # noqa: E402


def request(trained, checkpoint: Path, names: list[str], scratch: bool) -> dict:
    architectures = [resolve(toy.space(), name).to_dict() for name in names]
    common = {"data": str(trained.data), "space": toy.space().to_dict(), "scores": True, "beam": 2}
    return {"checkpoint": str(checkpoint), "architectures": architectures, "scratch": scratch, **common}


def test_the_extracted_subnet_has_the_values_of_the_supernet(trained, tmp_path):
    names = ["smallest", "random:1", "largest"]
    inherited = measure(request(trained, trained.path, names, scratch=False))
    assert {"loss", "nll_loss", "bleu", "chrf"} < set(inherited["rows"][0])
    assert inherited["rows"][0]["loss"] != inherited["rows"][2]["loss"]
    assert inherited["signature"]["scored_on"] == "test" and "bleu_signature" in inherited["signature"]
    for name, row in zip(names, inherited["rows"]):
        subnet = tmp_path / f"{row['architecture']}.pt"
        extract_checkpoint(trained.path, name, str(subnet))
        alone = measure(request(trained, subnet, [name], scratch=True))
        assert alone["rows"] == [row]
        assert alone["signature"] == inherited["signature"]


def test_another_architecture_than_the_dense_models_is_refused(trained, tmp_path):
    subnet = tmp_path / "subnet.pt"
    extract_checkpoint(trained.path, "largest", str(subnet))
    with pytest.raises(UserError, match="is architecture"):
        measure(request(trained, subnet, ["smallest"], scratch=True))
