"""fairseq-train: its arguments, and its log as one short line now and then."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config
from pipeline.work import duration

KINDS = ("supernet", "stock", "scratch", "retrained")
"""What is trained; the last two are the found subnet."""


def train_arguments(
    config: Config,
    data: Path,
    save_dir: Path,
    languages: tuple[str, str],
    updates: int,
    seed: int,
    kind: str,
    subnet: Path | None = None,
    weights: Path | None = None,
) -> list[str]:
    """Returns the arguments of fairseq-train.

    The kinds differ in architecture, task and criterion, and a supernet in what `config.supernet` says and in its
    warm-up; data and optimisation are the same, but that retraining has a lower learning rate and a shorter warm-up.
    `--user-dir` stays for the stock model too: that is what repairs fairseq on current Python and torch.

    Args:
        config: the example.
        data: binarised data.
        save_dir: folder for checkpoints.
        languages: source and target language.
        updates: training updates.
        seed: of everything random.
        kind: one of :data:`KINDS`.
        subnet: architecture of `scratch` and `retrained`.
        weights: the extracted subnet that `retrained` starts from.
    """
    rate, warmup = config.learning_rate, config.dense(config.warmup)
    if kind == "supernet":
        warmup = config.warmup
        words = ["--task", "supernet_translation", "--arch", f"mos_transformer_{config.space}"]
        words += ["--criterion", "supernet_label_smoothed_cross_entropy"]
    elif kind == "stock":
        words = ["--task", "translation", *config.stock.split(), "--criterion", "label_smoothed_cross_entropy"]
    else:
        words = ["--task", "translation", "--arch", "mos_subnet", "--subnet", str(subnet)]
        words += ["--share-all-embeddings", "--criterion", "label_smoothed_cross_entropy"]
    if kind == "retrained":
        rate, warmup = config.retrain_learning_rate, config.retrain_warmup
        words += ["--finetune-from-model", str(weights)]
    # What is said last counts.
    over = config.supernet_flags if kind == "supernet" else config.network.split()
    interval = max(1, updates // config.saves)
    return [
        str(data),
        *("--user-dir", "fairseq_mos"),
        *("--source-lang", languages[0], "--target-lang", languages[1]),
        *words,
        *("--label-smoothing", str(config.label_smoothing), "--dropout", str(config.dropout)),
        *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"),
        *("--lr", str(rate), "--lr-scheduler", config.schedule),
        *("--warmup-updates", str(min(warmup, max(1, updates // 2)))),
        *("--max-tokens", str(config.max_tokens), "--max-update", str(updates), "--seed", str(seed)),
        *("--save-dir", str(save_dir), "--save-interval-updates", str(interval)),
        *("--keep-interval-updates", str(config.average), "--no-epoch-checkpoints"),
        # Validation and saving go by updates: epochs may be short.
        *("--save-interval", "1000000", "--validate-interval", "1000000"),
        *("--num-workers", "0"),
        *("--log-format", "json", "--log-interval", str(max(1, min(20, updates // 10)))),
        *over,
    ]


def last_checkpoints(save_dir: Path, number: int) -> list[Path]:
    """Returns the last checkpoints by update, oldest first; `checkpoint_last.pt` alone for 1.

    An interval that ends with an epoch leaves no checkpoint of its own, so there may be fewer than fairseq-mos average
    would ask for.
    """
    found = sorted(save_dir.glob("checkpoint_*_*.pt"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return found[-number:] if number > 1 and found else [save_dir / "checkpoint_last.pt"]


class TrainingProgress:
    """Turns fairseq-train's JSON log into short lines.

    Args:
        say: prints a line.
        updates: how many there will be.
        every: seconds between two lines, at least.
        clock: the time in seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        updates: int,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.say = say
        self.updates = updates
        self.every = every
        self.clock = clock
        self._first: tuple[float, int] | None = None
        self._printed = float("-inf")

    def __call__(self, line: str) -> None:
        """Takes one line of the log."""
        resumed = re.search(r"Loaded checkpoint .*@ (\d+) updates", line)
        if resumed:
            self.say(f"going on from update {resumed.group(1)}")
        match = re.search(r"\| (train_inner|valid) \| (\{.*\})\s*$", line)
        if not match:
            return
        try:
            logged = json.loads(match.group(2))
            values = {key: float(value) for key, value in logged.items() if value is not None}
        except (TypeError, ValueError):
            return
        if match.group(1) == "valid":
            self._say("valid loss", values, "valid_", int(values.get("valid_num_updates", 0)), "")
            return
        now, update = self.clock(), int(values.get("num_updates", 0))
        if self._first is None:
            self._first = (now, update)
        if now - self._printed < self.every and update < self.updates:
            return
        self._printed = now
        begin, first = self._first
        left = ""
        if update > first:
            left = f"   {duration((now - begin) / (update - first) * (self.updates - update))} left"
        self._say("train loss", values, "", update, left)

    def _say(self, label: str, values: dict[str, float], prefix: str, update: int, ending: str) -> None:
        loss = values.get(f"{prefix}loss")
        if loss is None:
            return
        roles = [
            f"{role} {values[f'{prefix}{role}_loss']:.2f}"
            for role in ("largest", "smallest")
            if f"{prefix}{role}_loss" in values
        ]
        detail = f" ({', '.join(roles)})" if roles else ""
        width = len(str(self.updates))
        self.say(f"update {update:>{width}}/{self.updates}   {label} {loss:.2f}{detail}{ending}")
