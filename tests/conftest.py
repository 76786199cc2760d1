"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHARED_DATA = Path(os.environ.get("MOS_SHARED_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def shared_data():
    """Returns a function from a relative name to its path in the shared data, or skips the test."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            message = f"needs {name} of the shared data folder ({SHARED_DATA}), which is absent"
            if os.environ.get("MOS_REQUIRE_DATA") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return find


@dataclass(frozen=True)
class Trained:
    """A data-bin folder and a supernet checkpoint trained on it for a few updates."""

    data: Path
    path: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """A toy supernet, trained on 45 sentences with dropout and label smoothing, so that eval mode matters."""
    from tests import toy
    from tests.fairseq_commands import run_steps, write_corpus

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
