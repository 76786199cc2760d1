"""The work folder: which steps are done, with which settings, and what the terminal shows of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import PipelineError

_PATIENCE = 2.0
"""Seconds that the command of a killed run has to end."""


def duration(seconds: float) -> str:
    """Returns `12 s`, `3 min 05 s` or `1 h 02 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


def digest_files(paths: Sequence[Path]) -> str:
    """Returns a hash of the contents, in this order."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


class Work:
    """Runs stages made of steps and remembers what is done.

    A step is skipped when it was finished with the same settings and its outputs exist. Settings name
    everything that decides the outputs, among them the tokens of the steps before it (see :meth:`token`).
    As a context manager, it leaves the folder to other runs at the end.

    Args:
        folder: the work folder; it is created.
        stages: how many stages there will be.

    Raises:
        PipelineError: the folder cannot be written to, or another run uses it.
    """

    def __init__(self, folder: Path, stages: int):
        self.folder = folder
        self.stages = stages
        self.begin = time.monotonic()
        self.executed: list[str] = []
        self._number = 0
        self._header: str | None = None
        try:
            (folder / "state").mkdir(parents=True, exist_ok=True)
            (folder / "logs").mkdir(exist_ok=True)
            # Held until this process and the commands that it runs have ended, however they end.
            self.lock = open(folder / "state" / "lock", "w")  # noqa: SIM115
        except OSError as error:
            raise PipelineError(f"cannot write to {folder}: {error.strerror}") from error
        deadline = time.monotonic() + _PATIENCE
        while not self._locked():
            if time.monotonic() > deadline:
                raise PipelineError(f"another run uses {folder}: wait, or choose another folder")
            time.sleep(0.1)

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.close()

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def say(self, text: str) -> None:
        """Prints a line below the stage's announcement."""
        print(f"      {text}", flush=True)

    @contextmanager
    def stage(self, title: str, about: str | None = None) -> Iterator[None]:
        """Announces a stage as soon as one of its steps has something to do."""
        self._number += 1
        label = f"[{self._number}/{self.stages}] {title}"
        self._header = f"{label} (about {about}) ..." if about else f"{label} ..."
        begin = time.monotonic()
        yield
        if self._header is not None:
            print(f"{label}: done before", flush=True)
        else:
            self.say(f"done in {duration(time.monotonic() - begin)}")

    def announce(self) -> None:
        """Prints the stage's announcement, unless it was printed."""
        if self._header is not None:
            print(self._header, flush=True)
            self._header = None

    def _stamp(self, name: str) -> Path:
        return self.folder / "state" / f"{name}.json"

    def _read(self, name: str) -> dict:
        try:
            return json.loads(self._stamp(name).read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def token(self, name: str) -> str:
        """Returns what identifies the finished step's outputs; it changes when the step is done again."""
        return self._read(name).get("token", "")

    def step(
        self,
        name: str,
        settings: dict,
        outputs: Sequence[Path],
        action: Callable[[], None],
        continues: bool = False,
    ) -> None:
        """Runs `action` unless it was done before with the same settings.

        Args:
            name: of the step, unique.
            settings: what decides the outputs; plain JSON.
            outputs: files and folders that the action makes; removed before it starts anew.
            action: does the work.
            continues: an interrupted action goes on from the partial outputs.

        Raises:
            PipelineError: an output is missing afterwards.
        """
        settings = json.loads(json.dumps(settings))
        before = self._read(name)
        same = before.get("settings") == settings
        if same and before.get("done") and all(path.exists() for path in outputs):
            return
        self.announce()
        self.executed.append(name)
        if before and not same:
            self.say(f"{name}: {_difference(before.get('settings', {}), settings)}; starting it anew")
        if not (same and continues):
            for path in outputs:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        stamp = {"settings": settings, "done": False}
        write_text(self._stamp(name), json.dumps(stamp, indent=1) + "\n")
        begin = time.time()
        action()
        for path in outputs:
            if not path.exists():
                raise PipelineError(f"step {name} ended without writing {path}", 1)
        text = json.dumps([settings, begin])
        stamp = {
            "settings": settings,
            "done": True,
            "seconds": round(time.time() - begin, 1),
            "token": hashlib.sha256(text.encode()).hexdigest()[:16],
        }
        write_text(self._stamp(name), json.dumps(stamp, indent=1) + "\n")

    def log(self, name: str) -> Path:
        """Returns the log file of a command."""
        return self.folder / "logs" / f"{name}.log"


def _difference(old: dict, new: dict) -> str:
    changed = [key for key in new if key not in ("after", "files") and old.get(key) != new[key]]
    if changed:
        return ", ".join(f"{key} was {old.get(key)}, is {new[key]}" for key in changed)
    return "what it builds on has changed"
