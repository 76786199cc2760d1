"""Checkpoints of the version before families: they load, and give the very logits that they gave then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import fairseq_mos
from fairseq_mos.arch.select import resolve
from fairseq_mos.models.loading import load_state, save_state
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


@torch.no_grad()
@pytest.mark.parametrize("name", ["mos_transformer", "mos_transformer_tiny"])
def test_options_that_came_later(tmp_path, name):
    fairseq_mos.register()
    state = load_state(str(FOLDER / "supernet.pt"))
    state["cfg"] = OmegaConf.to_container(state["cfg"])
    state["cfg"]["model"]["_name"] = name
    for option in ("expert_rank", "modulation", "modulation_hidden_dim", "trainable", "split_gene"):
        state["cfg"]["model"].pop(option, None)
    save_state(state, tmp_path / "supernet.pt")
    for file in FOLDER.glob("dict.*"):
        shutil.copy(file, tmp_path)
    model = open_model(tmp_path / "supernet.pt").model
    expected = torch.load(FOLDER / "logits.pt", weights_only=True)["largest"]
    torch.testing.assert_close(model(**toy.batch()["net_input"])[0], expected, rtol=1e-5, atol=1e-5)
