"""Reading small YAML and JSON documents strictly, with errors of one line that name the place.

Nothing here knows about architectures. A value that breaks a rule raises :class:`FieldError`, which
names the field; :func:`naming` adds the file (or another source) in front.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import yaml

from fairseq_mos.documents import FieldError, parse_json, read_yaml, show
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Turns a :class:`FieldError` of the block into a :class:`UserError` that starts with `source`."""
    try:
        yield
    except FieldError as error:
        raise UserError(f"{source}: {error}") from None


def listed(values) -> str:
    """Returns the values separated by commas."""
    return ", ".join(str(value) for value in values)


def is_inline(text: str) -> bool:
    """Tells whether `text` is an inline JSON object instead of a name or a path."""
    return text.lstrip().startswith("{")


def load_document(text: str | os.PathLike, what: str) -> tuple[object, str]:
    """Reads inline JSON (a string that starts with `{`) or a YAML file.

    Args:
        text: inline JSON or the path of a file.
        what: what is expected, for the messages: "architecture", "search space".

    Returns:
        The parsed data and the name of its source for later messages.

    Raises:
        UserError: no such file, not readable, malformed or empty.
    """
    text = os.fspath(text)
    if is_inline(text):
        source = f"inline {what}"
        return parse_json(text, source), source
    data = read_yaml(text, what)
    if data is None:
        raise UserError(f"{text}: the file is empty, expected YAML ({what})")
    return data, text


def save_document(path: str | os.PathLike, data: Mapping, header: str) -> None:
    """Writes `data` as YAML under the comment lines of `header`, replacing the file in one step."""
    # None: lists of numbers stay on one line, mappings go over several.
    body = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)
    comment = "".join(f"# {line}\n" if line else "#\n" for line in header.splitlines())
    with atomic_write(path) as stream:
        stream.write(comment + body)


def compact_json(data: object) -> str:
    """Returns the canonical JSON text: keys sorted, no white space."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def check_keys(
    data: object, field: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping:
    """Returns `data` if it is a mapping with all required keys and no unknown one.

    Raises:
        FieldError: otherwise, naming the key.
    """
    expected = listed(required + optional)
    prefix = f"{field}." if field else ""
    if not isinstance(data, Mapping):
        place = field or "top level"
        raise FieldError(f"{place} is {show(data)}, expected a mapping with the keys {expected}")
    for key in data:
        if key not in required and key not in optional:
            raise FieldError(f"{prefix}{key} is unknown, the keys are {expected}")
    for key in required:
        if key not in data:
            raise FieldError(f"{prefix}{key} is missing, the keys are {expected}")
    return data


MAX_SIZE = 1_000_000
"""Of any size of an architecture: whatever is larger is a slip."""

MAX_LAYERS = 1000


def check_integer(value: object, field: str, most: int = MAX_SIZE) -> int:
    """Returns `value` if it is a positive integer (a bool is not one) of at most `most`.

    Raises:
        FieldError: otherwise.
    """
    if type(value) is not int or value < 1:
        raise FieldError(f"{field} is {show(value)}, expected a positive integer")
    if value > most:
        raise FieldError(f"{field} is {show(value)}, expected at most {most:,}")
    return value


def check_list(value: object, field: str) -> tuple:
    """Returns `value` as a tuple if it is a list that is not empty.

    Raises:
        FieldError: otherwise.
    """
    if not isinstance(value, (list, tuple)) or not value:
        raise FieldError(f"{field} is {show(value)}, expected a list with at least one entry")
    return tuple(value)
