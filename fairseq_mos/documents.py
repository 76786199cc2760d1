"""The one reader of JSON and YAML: what it returns is plain, finite, not too deep and not too large.

Whatever a file holds, reading it ends quickly and either gives data that can be printed, compared and written
again, or an error of one line that names the file and the place.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from typing import Any, TypeVar

import yaml

from fairseq_mos.errors import UserError

T = TypeVar("T")

MAX_DEPTH = 64
"""Lists and mappings within each other."""

MAX_NODES = 100_000
"""Values of a YAML document once its aliases are written out."""

MAX_YAML_BYTES = 4 * 2**20
MAX_JSON_BYTES = 2**28

_INTEGER_DIGITS = 19
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class FieldError(UserError):
    """A value that breaks a rule: the message starts with the field and has no source yet."""


def show(value: object, limit: int = 60) -> str:
    """Returns `repr(value)`, shortened so that an error stays readable in one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with thousands of digits; a list that holds itself
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def read_text(path: str | os.PathLike, what: str, limit: int = MAX_JSON_BYTES) -> str:
    """Reads a UTF-8 text file.

    Args:
        path: the file.
        what: what is expected, for the messages: "search space", "predictor".
        limit: bytes; a larger file is refused.

    Raises:
        UserError: no such file, not readable, too large or no text.
    """
    try:
        return read_bytes(path, what, limit).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: malformed {what}: not a UTF-8 text file") from None


def read_bytes(path: str | os.PathLike, what: str, limit: int = MAX_JSON_BYTES) -> bytes:
    """Reads a regular file.

    Raises:
        UserError: no such file, not readable, or larger than `limit` bytes.
    """
    try:
        found = os.stat(path)
        # A folder: its error says what it is.
        if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_size <= limit):
            with open(path, "rb") as stream:
                return stream.read()
    except OSError as error:
        raise UserError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    except ValueError as error:  # a null character in the name
        raise UserError(f"{show(os.fspath(path))}: cannot read the {what}: {error}") from None
    # A pipe without a writer, or a device, would be read for ever.
    wrong = f"it is larger than {limit:,} bytes" if stat.S_ISREG(found.st_mode) else "it is no regular file"
    raise UserError(f"{path}: cannot read the {what}: {wrong}")


def read_json(path: str | os.PathLike, what: str, kind: type[T] = dict, remedy: str = "", nan: bool = False) -> T:
    """Reads a JSON file of one value.

    Args:
        path: the file.
        what: what is expected, for the messages.
        kind: type that the value has to have: a builtin one, `dict[str, float]`, a `msgspec.Struct` ...
        remedy: what to do about a wrong value, added to the message.
        nan: see :func:`parse_json`.

    Raises:
        UserError: names the file and, where there is one, the field.
    """
    content = read_bytes(path, what)
    try:
        data = parse_json(content, f"{path}", what, nan)
    except UserError as error:
        raise UserError(f"{error}; {remedy}" if remedy else str(error)) from None
    return convert(data, kind, f"{path}", remedy)


def parse_json(content: bytes | str, source: str, what: str = "JSON", nan: bool = False) -> Any:
    """Parses one JSON value.

    Args:
        content: the text.
        source: what to call it in messages.
        what: what is expected, for the messages.
        nan: take NaN and Infinity, which are no JSON but which Python writes, for null.

    Raises:
        UserError: malformed, a key that stands twice, a number that is not finite or has too many digits, nesting
            deeper than :data:`MAX_DEPTH`, or text that is not Unicode.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    try:
        data = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_null if nan else _constant,
        )
    except UnicodeDecodeError:
        raise UserError(f"{source}: malformed {what}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{source}: malformed JSON: {error.msg} at character {error.pos + 1}") from None
    except FieldError as error:
        raise UserError(f"{source}: {error}") from None
    except RecursionError:
        raise UserError(f"{source}: malformed JSON: nested too deeply") from None
    # Everything else was checked while parsing; only escapes can smuggle in what is not Unicode.
    _check_plain(data, source, "", texts=bool(_SURROGATE.search(content)))
    return data


def json_lines(content: bytes, path: str | os.PathLike) -> list[dict]:
    """Returns the JSON objects of a file's whole lines.

    Args:
        content: of the file; what follows the last line's end may have been cut short by a kill, and is left out.
        path: the file, for messages.

    Raises:
        UserError: a line is something else.
    """
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        source = f"{path}: line {number}"
        try:
            row = parse_json(line, source)
        except UserError as error:
            raise UserError(f"{source} is damaged, expected a JSON object{str(error)[len(source) :]}") from None
        if not isinstance(row, dict):
            raise UserError(f"{source} is damaged, expected a JSON object")
        rows.append(row)
    return rows


def read_yaml(path: str | os.PathLike, what: str) -> Any:
    """Reads a YAML file.

    Raises:
        UserError: as :func:`parse_json`, or aliases that stand for more than :data:`MAX_NODES` values.
    """
    content = read_text(path, what, MAX_YAML_BYTES)
    try:
        return parse_yaml(content, f"{path}")
    except yaml.YAMLError as error:
        raise UserError(f"{path}: malformed YAML{_yaml_problem(error)}") from None
    except (RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        # ValueError: a timestamp that looks right and is not, such as 2024-99-99.
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{path}: malformed YAML: {reason or type(error).__name__}") from None


def parse_yaml(content: str, source: str) -> Any:
    """Parses one YAML document; see :func:`read_yaml`, which also explains errors of the parser."""
    loader = _StrictLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, source, {}, 0)
        data = loader.construct_document(node)
    finally:
        loader.dispose()
    _check_plain(data, source, "", texts=True)
    return data


def convert(data: object, kind: type[T], source: str, remedy: str = "") -> T:
    """Returns parsed data as `kind`, checked field by field.

    Args:
        data: plain data.
        kind: see :func:`read_json`.
        source: what to call the data in messages.
        remedy: what to do about a wrong value.

    Raises:
        UserError: names source, field, what is expected and what is there.
    """
    import msgspec  # not needed to read a search space

    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".")
        problem = problem.replace("`", "")
        problem = problem[:1].lower() + problem[1:]
        raise UserError(
            f"{source}: {field + ': ' if field else ''}{problem}{'; ' + remedy if remedy else ''}"
        ) from None


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _INTEGER_DIGITS:
        raise FieldError(f"malformed JSON: a number with {len(digits.lstrip('-'))} digits, allowed: {_INTEGER_DIGITS}")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise FieldError(f"malformed JSON: {show(digits)[1:-1]} is too large a number")
    return value


def _constant(name: str) -> float:
    raise FieldError(f"malformed JSON: {name} is no number")


def _null(name: str) -> None:
    return None


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise FieldError(f"malformed JSON: the key {show(twice)[1:-1]} stands twice")
    return data


def _check_plain(value: object, source: str, place: str, texts: bool, depth: int = 0) -> None:
    """Checks nesting, numbers and, where asked for, texts; other types are left to those who know what is expected."""
    if isinstance(value, (dict, list)):
        if depth >= MAX_DEPTH:
            raise UserError(f"{source}: nested too deeply ({MAX_DEPTH} levels are allowed)")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if texts and isinstance(key, str):
                _check_text(key, source, place)
            inside = isinstance(item, (dict, list))
            # Names are made for those that need them alone: most values are fine.
            if inside or (texts and isinstance(item, str)) or isinstance(item, (int, float)):
                _check_plain(item, source, _named(place, key) if inside else place, texts, depth + 1)
    elif isinstance(value, str):
        _check_text(value, source, place)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{source}: {place + ': ' if place else ''}{value} is no finite number")
    elif isinstance(value, int) and abs(value) >= 10**_INTEGER_DIGITS:
        raise UserError(f"{source}: {place + ': ' if place else ''}a number with more than {_INTEGER_DIGITS} digits")


def _named(place: str, key: object) -> str:
    if isinstance(key, int):
        return f"{place}[{key}]"
    key = show(key, 40)[1:-1] if isinstance(key, str) else show(key, 40)
    return f"{place}.{key}" if place else key


def _check_text(text: str, source: str, place: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{source}: {place + ': ' if place else ''}{show(text)} is no valid Unicode text") from None


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that stands twice is an error instead of a silent override."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = (key_node.tag, str(key_node.value)[:200])
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key[1]} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, source: str, known: dict[int, int], depth: int) -> int:
    """Returns how many values a node stands for when its aliases are written out."""
    if depth > MAX_DEPTH:
        raise UserError(f"{source}: nested too deeply ({MAX_DEPTH} levels are allowed)")
    size = known.get(id(node))
    if size is None:
        known[id(node)] = 0
        size = 1
        children = node.value if isinstance(node, (yaml.SequenceNode, yaml.MappingNode)) else ()
        for child in children:
            for part in child if isinstance(child, tuple) else (child,):
                size += _count(part, source, known, depth + 1)
        if size > MAX_NODES:
            raise UserError(f"{source}: its aliases stand for more than {MAX_NODES:,} values")
        known[id(node)] = size
    elif size == 0:
        raise UserError(f"{source}: an alias stands within what it stands for")
    return size


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return (f" in line {mark.line + 1}" if mark else "") + f": {problem}"
