"""Flags of fairseq's commands whose text is JSON or a dictionary of Python's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_mos.compat.literals import literal
from fairseq_mos.documents import convert, parse_json, show
from fairseq_mos.errors import UserError
from fairseq_mos.ranges import Range

_JSON = ("eval_bleu_args", "eval_bleu_detok_args", "eval_args")
_PYTHON = ("model_overrides", "optimizer_overrides", "epoch2lr", "update2lr")


def check_texts(values: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Checks texts by the names of their flags.

    Args:
        values: name of a flag -> its value.
        ranges: what the numbers within may be, by their names.

    Raises:
        UserError: names the flag.
    """
    for name in (*_JSON, *_PYTHON):
        text, flag = values.get(name), f"--{name.replace('_', '-')}"
        if not isinstance(text, str) or text.startswith("${"):
            continue
        if name in _JSON:
            found = convert(parse_json(text, flag), dict, flag)
            for key, value in found.items():
                if key in ranges:
                    ranges[key].check(f"{flag}: {show(key)[1:-1]}", value)
        else:
            _check_python(flag, text)


def _check_python(flag: str, text: str) -> None:
    try:
        if isinstance(literal(text), dict):
            return
    except UserError:
        pass
    raise UserError(f"{flag} is {show(text)}, allowed: a dictionary of literals, such as {{'dropout': 0.1}}")
