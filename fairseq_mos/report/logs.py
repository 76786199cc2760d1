"""Reads what fairseq-train printed, in its `json` and its `simple` log format."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.errors import UserError

_LINE = re.compile(r"\| (train_inner|train|valid|[\w.-]*valid[\w.-]*) \| (.*)$")
_ROLE = re.compile(r"valid_(?:(\w+?)_)?loss$")


@dataclass
class TrainingLog:
    """A training run.

    Attributes:
        name: what to call it.
        path: its log.
        train: update -> training loss since the entry before (base 2, label-smoothed).
        valid: role -> update -> loss on the valid set; the role of a subnet or stock model's own loss is ``.
        seconds: update -> seconds of training up to it, without validation and interruptions.
        command: the command line, where the log tells.
    """

    name: str
    path: Path
    train: dict[int, float] = field(default_factory=dict)
    valid: dict[str, dict[int, float]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    command: str = ""

    @property
    def updates(self) -> int:
        """The last update that the log tells of."""
        return max([0, *self.train, *(update for curve in self.valid.values() for update in curve)])

    def seconds_at(self, update: int) -> float | None:
        """Returns the seconds of training up to an update; None where the log does not tell."""
        known = [at for at in self.seconds if at <= update]
        return self.seconds[max(known)] if known else None


def read_log(path: str | Path, name: str | None = None) -> TrainingLog:
    """Reads a log.

    A resumed run logs some updates twice: the last entry counts.

    Raises:
        UserError: unreadable, or nothing that fairseq-train prints.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    log = TrainingLog(name or path.stem.removeprefix("train-"), path)
    spent: dict[int, float] = {}
    for line in re.split(r"[\r\n]+", text):
        if line.startswith("$ "):
            log.command = line[2:].strip()
        match = _LINE.search(line)
        values = _values(match.group(2)) if match else {}
        if not values:
            continue
        if match.group(1) == "train_inner":
            update = int(values.get("num_updates", 0))
            if "loss" in values:
                log.train[update] = values["loss"]
            spent[update] = values.get("train_wall", 0.0)
        elif match.group(1) != "train":
            update = int(values.get("valid_num_updates", values.get("num_updates", 0)))
            _add_losses(log, update, values)
    if not log.train and not log.valid:
        raise UserError(f"{path} is no log of fairseq-train: expected lines with | train_inner | or | valid |")
    total = 0.0
    for update in sorted(spent):
        total += spent[update]
        log.seconds[update] = total
    return log


def _values(text: str) -> dict[str, float]:
    """Returns the numbers of one entry, JSON or `key=value, key value` pairs."""
    text = text.strip()
    if text.startswith("{"):
        try:
            pairs = json.loads(text).items()
        except ValueError:
            return {}
    else:
        pairs = [(key, value) for key, value in re.findall(r"([a-zA-Z_]\w*)[ =](-?\d[\w.+-]*)", text)]
    found = {}
    for key, value in pairs:
        try:
            found[key] = float(value)
        except (TypeError, ValueError):
            continue
    return found


def _add_losses(log: TrainingLog, update: int, values: dict[str, float]) -> None:
    for key, value in values.items():
        # The simple format leaves the prefix out.
        full = key if key.startswith("valid_") else f"valid_{key}"
        match = _ROLE.match(full)
        if match and match.group(1) not in ("best", "nll") and not (match.group(1) or "").endswith("nll"):
            log.valid.setdefault(match.group(1) or "", {})[update] = value
