"""Reads what fairseq-train printed, in its `json` and its `simple` log format."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.errors import UserError

# A dictionary of the json format, or an entry of the simple one, whatever the logger put before it: nothing for
# --log-file, `date | INFO | train_inner | ` on the terminal, `[date][train_inner][INFO] - ` from fairseq-hydra-train.
_ENTRY = re.compile(r'(\{".*\})\s*$|\bepoch \d+(?::| \|)(.*)$')
_SIMPLE_SUBSET = re.compile(r"valid on '([^']*)' subset")
_ROLE = re.compile(r"(?:(\w+)_)?loss$")
_NAMELESS = ("hydra_train", "train", "log")


@dataclass
class TrainingLog:
    """A training run.

    Attributes:
        name: what to call it.
        path: its log.
        train: update -> training loss since the entry before (base 2, label-smoothed).
        valid: role -> update -> loss on the valid set; the role of a subnet or stock model's own loss is ``.
        seconds: update -> seconds of training up to it, without validation and interruptions.
    """

    name: str
    path: Path
    train: dict[int, float] = field(default_factory=dict)
    valid: dict[str, dict[int, float]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    @property
    def is_supernet(self) -> bool:
        """Whether a supernet was trained: one that validates several architectures, or is called so."""
        return any(self.valid) or "supernet" in self.name

    @property
    def roles(self) -> list[str]:
        """The roles with a valid loss: the extremes, then the others; the mean last."""
        order = ("largest", "smallest")
        return sorted(self.valid, key=lambda role: (not role, order.index(role) if role in order else 2, role))

    @property
    def updates(self) -> int:
        """The last update that the log tells of."""
        return max([0, *self.train, *(update for curve in self.valid.values() for update in curve)])

    def seconds_at(self, update: int) -> float | None:
        """Returns the seconds of training up to an update; None where the log does not tell."""
        known = [at for at in self.seconds if at <= update]
        return self.seconds[max(known)] if known else None


def read_log(path: str | Path, name: str | None = None) -> TrainingLog:
    """Reads a log: what fairseq-train printed, its `--log-file`, or the log of fairseq-hydra-train.

    A resumed run logs some updates twice: the last entry counts. Epochs' means count where nothing finer is logged.

    Args:
        path: the log.
        name: what to call it; by default its file's name, or its folder's where that says nothing.

    Raises:
        UserError: unreadable, or nothing that fairseq-train prints.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    log = TrainingLog(name or _name(path), path)
    inner, epochs, subsets = {}, {}, []
    for line in re.split(r"[\r\n]+", text):
        match = _ENTRY.search(line)
        kind, values = _values(*match.groups()) if match else ("", {})
        update = int(values.get("num_updates", 0))
        if update < 1 or "loss" not in values:
            continue
        if kind in ("inner", "train"):
            entries = inner if kind == "inner" else epochs
            entries[update] = values["loss"], values.get("train_wall", 0.0)
            continue
        subsets.append(kind)
        if kind == subsets[0]:
            _add_losses(log, update, values)
    total = 0.0
    for update, (loss, seconds) in sorted((inner or epochs).items()):
        total += seconds
        log.train[update], log.seconds[update] = loss, total
    if not log.train and not log.valid:
        raise UserError(f"{path} is no log of fairseq-train: expected its lines with losses and num_updates")
    return log


def _name(path: Path) -> str:
    if path.stem not in _NAMELESS:
        return path.stem.removeprefix("train-")
    # Hydra's own folders are a date and a time.
    folders = (folder.name for folder in path.resolve().parents)
    return next((name for name in folders if not re.fullmatch(r"[\d_-]+|outputs|multirun|logs|", name)), path.stem)


def _values(dictionary: str | None, simple: str | None) -> tuple[str, dict[str, float]]:
    """Returns an entry's kind (`inner`, `train` or the valid set's name) and its numbers, names without prefix."""
    if dictionary:
        try:
            pairs = json.loads(dictionary).items()
        except ValueError:
            return "", {}
    else:
        pairs = re.findall(r"([a-zA-Z_]\w*)[ =](-?\d[\w.+-]*)", simple)
    found = {}
    for key, value in pairs:
        try:
            found[key] = float(value)
        except (TypeError, ValueError):
            continue
    if not dictionary:
        subset = _SIMPLE_SUBSET.search(simple)
        return (subset.group(1) if subset else "train" if simple.startswith(" loss") else "inner"), found
    if "num_updates" in found:
        return "inner", found
    prefix = next((key.removesuffix("num_updates") for key in found if key.endswith("_num_updates")), "")
    return prefix[:-1], {key.removeprefix(prefix): value for key, value in found.items()}


def _add_losses(log: TrainingLog, update: int, values: dict[str, float]) -> None:
    for key, value in values.items():
        match = _ROLE.match(key)
        role = match.group(1) or "" if match else "best"
        if role not in ("best", "nll") and not role.endswith("_nll"):
            log.valid.setdefault(role, {})[update] = value
