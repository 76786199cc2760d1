"""A toy corpus and the flags to train a supernet of masked language models through fairseq's commands."""

from __future__ import annotations

import random
from pathlib import Path

from tests import fairseq_commands as commands
from tests.families.masked_lm import kit
from tests.supernet_commands import PLUGIN

DATA = ["--sample-break-mode", "eos", "--tokens-per-sample", "16", "--mask-prob", "0.3"]
TRAIN = [
    "fairseq-train",
    "bin",
    *PLUGIN,
    *("--task", "supernet_masked_lm", "--arch", "mos_roberta", "--search-space", "space.yaml"),
    *("--criterion", "supernet_masked_lm", "--optimizer", "adam", "--lr", "0.005", "--batch-size", "8"),
    *("--router-hidden-dim", "8", "--dropout", "0", "--attention-dropout", "0", "--router-dropout", "0"),
    *DATA,
    *("--cpu", "--log-format", "simple", "--log-interval", "1", "--max-epoch", "2", "--num-workers", "0"),
]


def workspace(folder: Path) -> Path:
    """Writes the corpus (`bin`, 45 and 11 sentences) and the space (`space.yaml`) into `folder`."""
    # Each word follows the one before it in the list: masked ones can be told.
    draw, words = random.Random(0), [f"w{i}" for i in range(30)] * 2
    for split, count in (("train", 45), ("valid", 11)):
        starts = [draw.randrange(30) for _ in range(count)]
        lines = [" ".join(words[start : start + draw.randint(3, 12)]) for start in starts]
        (folder / split).write_text("".join(f"{line}\n" for line in lines))
    step = ["fairseq-preprocess", "--only-source", "--trainpref", "train", "--validpref", "valid", "--destdir", "bin"]
    commands.run_steps([step], folder)
    kit.space().save(folder / "space.yaml")
    return folder
