"""Reads what fairseq-train printed, in its `json` and its `simple` log format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.documents import parse_json
from fairseq_mos.errors import UserError
from fairseq_mos.paths import exists, is_file, is_folder
from fairseq_mos.ranges import Range

LARGEST_LOG = 200 * 2**20
"""Bytes: what is larger is no log of a training, which has some MiB."""

_LONGEST_LINE = 2**16
_MOST_ROLES = 64
_UPDATES = Range(int, 1, 10**12)
# What is not finite, as after a training has diverged, or does not fit on an axis, is left out.
_VALUES = Range(float, -1e12, 1e12)

# An entry of the simple format, whatever the logger put before it: nothing for --log-file, `date | INFO |
# train_inner | ` on the terminal, `[date][train_inner][INFO] - ` from fairseq-hydra-train. Likewise for the
# dictionaries of the json format, which end their lines.
_SIMPLE = re.compile(r"\bepoch \d+(?::| \|)(.*)$")
_SIMPLE_VALUE = re.compile(r"\b([a-zA-Z_]\w*)[ =](-?\d[\w.+-]*)")
_SIMPLE_SUBSET = re.compile(r"valid on '([^']*)' subset")
_ROLE = re.compile(r"(?:(\w{1,60})_)?loss$")
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
    """Reads a log that has to be one of fairseq-train, see :func:`scan_log`.

    Raises:
        UserError: unreadable, or nothing that fairseq-train prints.
    """
    log = scan_log(path, name)
    if not log.train and not log.valid:
        raise UserError(f"{path} is no log of fairseq-train: expected its lines with losses and num_updates")
    return log


def scan_log(path: str | Path, name: str | None = None) -> TrainingLog:
    """Reads a log: what fairseq-train printed, its `--log-file`, or the log of fairseq-hydra-train.

    A resumed run logs some updates twice: the last entry counts. Epochs' means count where nothing finer is logged.

    Args:
        path: the log; of something else, it gives a log without losses.
        name: what to call it; by default its file's name, or its folder's where that says nothing.

    Raises:
        UserError: unreadable.
    """
    path = Path(path)
    log = TrainingLog(name or _name(path), path)
    inner, epochs, subsets = {}, {}, []
    for line in log_lines(path):
        kind, values = _entry(line) if "num_updates" in line else ("", {})
        update = int(values.get("num_updates", 0))
        if update not in _UPDATES or "loss" not in values:
            continue
        if kind in ("inner", "train"):
            entries = inner if kind == "inner" else epochs
            entries[update] = values
            continue
        subsets.append(kind)
        if kind == subsets[0]:
            _add_losses(log, update, values)
    total, before = 0.0, 0
    for update, values in sorted((inner or epochs).items()):
        total += _seconds(values, update - before)
        log.train[update], log.seconds[update] = values["loss"], total
        before = update
    return log


def _seconds(values: dict[str, float], updates: int) -> float:
    """Returns the seconds of training since the entry before: fairseq logs whole ones, as little as 0 or 1.

    Its speed tells finer, as far as no validation or interruption was in between.
    """
    whole, speed = values.get("train_wall", 0.0), values.get("ups", 0.0)
    return whole if speed <= 0 else min(max(updates / speed, whole - 0.5), whole + 0.5)


def log_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a log, those that progress bars overwrite included; a very long line in pieces.

    Raises:
        UserError: unreadable, or larger than :data:`LARGEST_LOG`.
    """
    # Opening a pipe would wait for its writer.
    if exists(path) and not is_file(path) and not is_folder(path):
        raise UserError(f"cannot read {path}: it is no regular file")
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            if os.fstat(stream.fileno()).st_size > LARGEST_LOG:
                raise UserError(f"cannot read {path}: it is larger than {LARGEST_LOG:,} bytes")
            yield from iter(lambda: stream.readline(_LONGEST_LINE), "")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _name(path: Path) -> str:
    if path.stem not in _NAMELESS:
        return path.stem.removeprefix("train-")
    # Hydra's own folders are a date and a time.
    folders = (folder.name for folder in path.resolve().parents)
    return next((name for name in folders if not re.fullmatch(r"[\d_-]+|outputs|multirun|logs|", name)), path.stem)


def _entry(line: str) -> tuple[str, dict[str, float]]:
    """Returns an entry's kind (`inner`, `train` or the valid set's name) and its numbers, names without prefix."""
    line = line.rstrip()
    start = line.find('{"') if line.endswith("}") else -1
    if start < 0:
        simple = _SIMPLE.search(line)
        if simple is None:
            return "", {}
        text = simple.group(1)
        subset = _SIMPLE_SUBSET.search(text)
        kind = subset.group(1) if subset else "train" if text.startswith(" loss") else "inner"
        return kind, _numbers(_SIMPLE_VALUE.findall(text))
    try:
        found = _numbers(parse_json(line[start:], "log").items())
    except UserError:
        return "", {}
    if "num_updates" in found:
        return "inner", found
    prefix = next((key.removesuffix("num_updates") for key in found if key.endswith("_num_updates")), "")
    return prefix[:-1], {key.removeprefix(prefix): value for key, value in found.items()}


def _numbers(pairs: Iterable[tuple[str, object]]) -> dict[str, float]:
    """Returns what is a number; fairseq's json format writes them as texts."""
    found = {}
    for key, value in pairs:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if number in _VALUES:
            found[key] = number
    return found


def _add_losses(log: TrainingLog, update: int, values: dict[str, float]) -> None:
    for key, value in values.items():
        match = _ROLE.match(key)
        role = match.group(1) or "" if match else "best"
        known = role in log.valid or len(log.valid) < _MOST_ROLES
        if known and role not in ("best", "nll") and not role.endswith("_nll"):
            log.valid.setdefault(role, {})[update] = value
