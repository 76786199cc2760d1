"""Append-only logs of long work: every result, in order, safe against a kill at any moment."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fairseq_mos.documents import json_lines, parse_json
from fairseq_mos.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

REMEDY = "give another --output, or the same arguments to continue it"
"""What to do about a log of something else."""

_SHOWN = 60
_NAMED = 3


class Journal:
    """A JSONL file: a header line with the signature, then one line per result.

    Each line is flushed to the disk before the next result is worked on. Opening a log that exists reads
    what it holds as :attr:`rows`; a last line that a kill cut short is dropped. A file that is not recognised
    as a log of the same is left as it is.

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
        self._about = {name: _readable(value) for name, value in (about or {}).items()}
        self.rows: list[dict] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a full disk has refused once would be written again, and refused, on closing.
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (open as long as the search runs)
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
        rows: list[dict] = []
        if whole:
            self._check_header(content[: content.index(b"\n")], signature)
            rows = json_lines(content, self.path)
        # Two logs of the same agree so far, whatever their headers say besides.
        ours = json.dumps(self._header(signature)).encode()[:-1]
        if not whole and content[: len(ours)] != ours[: len(content)]:
            raise UserError(self._no_header())
        # Only now is it known that the file is ours, and that what follows the last line's end is a line cut short.
        if whole < len(content):
            self._file.truncate(whole)
        if rows:
            self.rows = rows[1:]
        else:
            self._write({**self._header(signature), **self._about})

    def _header(self, signature: Mapping[str, object]) -> dict[str, object]:
        return {f"fairseq_mos_{self._kind.replace(' ', '_')}": 1, "signature": signature}

    def _no_header(self) -> str:
        return f"{self.path}: line 1 is no header of a {self._kind}: {REMEDY}"

    def _check_header(self, line: bytes, signature: dict) -> None:
        try:
            header = parse_json(line, str(self.path))
        except UserError:
            header = None
        if not isinstance(header, dict) or any(name not in header for name in self._header(signature)):
            raise UserError(self._no_header())
        found = [
            f"its {name} is {_short(there, here)}, now it is {_short(here, there)}"
            for name, there, here in _differences(header["signature"], signature)
        ]
        if found:
            more = [f"and {len(found) - _NAMED} more differ"] if len(found) > _NAMED else []
            differing = "; ".join([*found[:_NAMED], *more])
            raise UserError(f"{self.path} is the log of another {self._kind}: {differing}; {REMEDY}")

    def _write(self, row: Mapping[str, object]) -> None:
        rest = memoryview(json.dumps(row, allow_nan=False).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error


def finite(row: Mapping[str, object]) -> dict[str, object]:
    """Returns the row with null for every number that JSON cannot express."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _readable(value: object) -> object:
    """Returns a text with what is no Unicode escaped, as in a path that is not UTF-8: it would not be read back."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _differences(there: object, here: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Yields the name and both values of each field that differs; fields of nested mappings are named by a path."""
    mappings = [value for value in (there, here) if isinstance(value, Mapping)]
    if mappings and (len(mappings) == 2 or None in (there, here)):
        there, here = there or {}, here or {}
        for key in {**there, **here}:
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif there != here:
        yield name or "signature", there, here


def _short(value: object, other: object) -> str:
    """Returns the value as JSON; a long one is cut to where it differs from the other."""
    text = json.dumps(value)
    same = len(os.path.commonprefix([text, json.dumps(other)]))
    begin = max(0, same - _SHOWN // 3) if len(text) > _SHOWN else 0
    end = begin + _SHOWN
    return ("..." if begin else "") + text[begin:end] + ("..." if end < len(text) else "")
