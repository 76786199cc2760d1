"""Checkpoints of the version before families: they load, and give the very logits that they gave then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fairseq_mos
from fairseq_mos.arch.select import resolve
from fairseq_mos.models.opening import open_model
from tests import toy

FOLDER = Path(__file__).parent.parent / "data/version_0"


def _open(name: str):
    fairseq_mos.register()
    return open_model(FOLDER / name).model


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["largest", "smallest", "random:1", "random:3"])
def test_supernet(architecture):
    model = _open("supernet.pt")
    model.activate(resolve(model.space, architecture))
    expected = torch.load(FOLDER / "logits.pt", weights_only=True)[architecture]
    # Other processors add up in another order.
    torch.testing.assert_close(model(**toy.batch()["net_input"])[0], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_subnet():
    expected = torch.load(FOLDER / "logits.pt", weights_only=True)["subnet"]
    torch.testing.assert_close(_open("subnet.pt")(**toy.batch()["net_input"])[0], expected, rtol=1e-5, atol=1e-5)
