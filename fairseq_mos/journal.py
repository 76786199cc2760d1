"""Append-only logs of long work: every result, in order, safe against a kill at any moment."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from fairseq_mos.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

REMEDY = "give another --output, or the same arguments to continue it"
"""What to do about a log of something else."""

_SHOWN = 60


class Journal:
    """A JSONL file: a header line with the signature, then one line per result.

    Each line is flushed to the disk before the next result is worked on. Opening a log that exists reads
    what it holds as :attr:`rows`; a last line that a kill cut short is dropped.

    Args:
        path: the file; its folder is created where it is missing.
        signature: what the values depend on. A log with another one is refused.
        about: what else the header should say; a log may be continued with another one.
        kind: what the log is of, for its header and messages: a word such as `search`.

    Raises:
        UserError: not writable, in use by another process, damaged, or the log of another search.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        signature: Mapping[str, object],
        about: Mapping[str, object] | None = None,
        kind: str = "search",
    ):
        self._kind = kind
        self.path = Path(path)
        self._about = dict(about or {})
        self.rows: list[dict] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")  # noqa: SIM115 (open as long as the search runs)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error
        try:
            self._lock()
            self._read(json.loads(json.dumps(signature)))
        except BaseException:
            self._file.close()
            raise

    def append(self, row: Mapping[str, object]) -> None:
        """Writes one result; what is not finite becomes null, which JSON can express."""
        self._write(finite(row))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path} is being written by another {self._kind} that still runs") from None
        except OSError:
            pass  # a file system without locks

    def _read(self, signature: dict) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        rows = parse_lines(content[:whole], self.path)
        if not rows:
            self._write({f"fairseq_mos_{self._kind.replace(' ', '_')}": 1, "signature": signature, **self._about})
            return
        header, *self.rows = rows
        if "signature" not in header:
            raise UserError(f"{self.path}: line 1 is no header of a {self._kind}: {REMEDY}")
        found = header["signature"]
        for name in {**found, **signature}:
            if found.get(name) != signature.get(name):
                there, here = (_short(values.get(name)) for values in (found, signature))
                raise UserError(
                    f"{self.path} is the log of another {self._kind}: its {name} is {there}, now it is {here}; "
                    f"{REMEDY}"
                )

    def _write(self, row: Mapping[str, object]) -> None:
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error


def parse_lines(content: bytes, path: str | os.PathLike) -> list[dict]:
    """Returns the JSON objects of whole lines.

    Args:
        content: whole lines: what follows the last line's end may have been cut short by a kill.
        path: the file, for messages.

    Raises:
        UserError: a line is something else.
    """
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number} is damaged, expected a JSON object")
        rows.append(row)
    return rows


def finite(row: Mapping[str, object]) -> dict[str, object]:
    """Returns the row with null for every number that JSON cannot express."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
