"""Text of users in Markdown: it is shown as it is, whatever characters it holds."""

from __future__ import annotations

import re

# An underscore within a word is none of them, so that most names stay as they are.
_SPECIAL = re.compile(r"[\\`*|\[\]<>&$~]|(?<![^\W_])_|_(?![^\W_])")


def escape(text: str) -> str:
    """Returns text for a heading, a paragraph or a table's cell."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def code(text: str) -> str:
    """Returns text as code, for outside of tables."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
