"""A toy corpus, a toy space and the flags to train a supernet on them through fairseq's commands."""

from __future__ import annotations

from pathlib import Path

import torch

from tests import fairseq_commands as commands
from tests import toy

PLUGIN = ["--user-dir", str(commands.ROOT / "fairseq_mos")]
TRAIN = [
    "fairseq-train",
    "bin",
    *PLUGIN,
    *("--task", "supernet_translation", "--arch", "mos_transformer", "--search-space", "space.yaml"),
    *("--criterion", "supernet_label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
    *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--lr", "0.005", "--max-tokens", "80"),
    *("--router-hidden-dim", "8", "--dropout", "0", "--router-dropout", "0"),
    *("--cpu", "--log-format", "simple", "--log-interval", "1", "--max-epoch", "2", "--num-workers", "0"),
]
PINNED = ["--task", "supernet_translation", "--architecture"]


def workspace(folder: Path) -> Path:
    """Writes the corpus (`bin`), the space (`space.yaml`) and two architectures into `folder`."""
    commands.write_corpus(folder)
    space = toy.space()
    space.save(folder / "space.yaml")
    space.smallest().save(folder / "smallest.yaml")
    space.largest().save(folder / "largest.yaml")
    return folder


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint."""
    return load(path)["model"]


def load(path: Path) -> dict:
    """A checkpoint, loaded safely."""
    import fairseq_mos

    fairseq_mos.register()
    return torch.load(path, map_location="cpu", weights_only=True)


def difference(a: Path, b: Path) -> float:
    """The largest absolute difference between two checkpoints' weights."""
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return max((first[name].double() - second[name].double()).abs().max().item() for name in first)


def hypotheses(output: str) -> list[tuple[str, ...]]:
    """The hypothesis lines (score and tokens, by sentence) that fairseq-generate printed."""
    lines = [line.split("\t") for line in output.splitlines() if line.startswith("H-")]
    return sorted(tuple(line) for line in lines)
