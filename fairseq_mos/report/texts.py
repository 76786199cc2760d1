"""Texts of a report: names from anywhere made safe for HTML, Markdown, file names and addresses; numbers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Control characters, halves of surrogate pairs (from names that are not UTF-8) and what Unicode and XML exclude.
_IMPOSSIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_\[\]|~$])")
# A heading, a quotation, a list or a rule, which stand at a line's beginning.
_BLOCK = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[#>]|[-+]\s|=+$|-{2,}$))")


def plain(text: str) -> str:
    """Returns a text with what neither UTF-8 nor XML can hold escaped; line ends stay."""
    return _IMPOSSIBLE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def as_html(text: str) -> str:
    """Returns a text for HTML, attributes included."""
    return html.escape(plain(text))


def as_markdown(text: str) -> str:
    """Returns a text for a paragraph, a heading or a cell in Markdown, which shows it as it is."""
    text = _MARKDOWN.sub(r"\\\1", plain(text).strip()).replace("&", "&amp;").replace("<", "&lt;")
    return _BLOCK.sub(r"\1\\", text).replace("\n", "<br>")


def slug(text: str, limit: int = 80) -> str:
    """Returns what a text leaves for a file's name or an address: lower-case ASCII letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:limit].strip("-") or "unnamed"


def unique(names: Iterable[str]) -> list[str]:
    """Returns the names with numbers behind those that were there before."""
    found: dict[str, None] = {}
    counts: dict[str, int] = {}
    for name in names:
        other = name
        while other in found:
            counts[name] = counts.get(name, 1) + 1
            other = f"{name}-{counts[name]}"
        found[other] = None
    return list(found)


def count(number: float | None) -> str:
    """Returns a whole number with commas, or a dash where it is not known."""
    return "-" if number is None else f"{int(number):,}"


def millions(number: float | None) -> str:
    """Returns a number in millions, or a dash where it is not known."""
    return "-" if number is None else f"{number / 1e6:,.1f}M"
