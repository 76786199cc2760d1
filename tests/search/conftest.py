"""A trained toy supernet and its data, for all tests of this folder that need a real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fairseq_commands import ROOT, run_steps, write_corpus


@dataclass(frozen=True)
class Trained:
    """A data-bin folder and a supernet checkpoint trained on it for a few updates."""

    data: Path
    path: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """Trains on 45 sentences, with dropout and label smoothing, so that eval mode matters."""
    from tests import toy

    folder = tmp_path_factory.mktemp("supernet")
    data = write_corpus(folder)
    toy.space().save(folder / "space.yaml")
    command = (
        f"fairseq-train {data} --user-dir {ROOT / 'fairseq_mos'} --task supernet_translation "
        f"--arch mos_transformer --search-space {folder / 'space.yaml'} --router-hidden-dim 8 "
        "--share-decoder-input-output-embed --dropout 0.2 --optimizer adam --lr 0.01 --max-tokens 256 "
        "--criterion supernet_label_smoothed_cross_entropy --label-smoothing 0.1 --max-update 6 "
        f"--save-dir {folder / 'checkpoints'} --no-epoch-checkpoints --cpu --log-format none"
    )
    run_steps([command.split()], folder)
    return Trained(data, folder / "checkpoints" / "checkpoint_last.pt")
