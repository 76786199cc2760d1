"""Which training pairs are kept, and how their text is tidied."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator


def tidy(line: str, lowercase: bool = False) -> str:
    """Makes every run of white space and control characters one plain space; removes invisible characters."""
    if not line.isprintable():
        kinds = ((c, unicodedata.category(c)) for c in line)
        # A control character parts words; one that only formats, such as a soft hyphen, stands inside of them.
        line = "".join(" " if kind == "Cc" else c for c, kind in kinds if kind not in ("Cf", "Co"))
    line = " ".join(line.split())
    return line.lower() if lowercase else line


def clean(
    pairs: Iterable[tuple[str, str]], max_words: int, max_ratio: float, lowercase: bool, dropped: Counter
) -> Iterator[tuple[str, str]]:
    """Yields tidied pairs that can teach something.

    Args:
        pairs: raw pairs.
        max_words: longest side, in words.
        max_ratio: largest ratio of the sides' lengths, in words.
        lowercase: lowercase both sides.
        dropped: counts what is left out, by reason.
    """
    for source, target in pairs:
        source, target = tidy(source, lowercase), tidy(target, lowercase)
        lengths = sorted((len(source.split()), len(target.split())))
        if lengths[0] == 0:
            dropped["empty"] += 1
        elif lengths[1] > max_words:
            dropped[f"longer than {max_words} words"] += 1
        elif lengths[1] > max_ratio * lengths[0]:
            dropped[f"lengths differ by more than {max_ratio}"] += 1
        else:
            yield source, target
