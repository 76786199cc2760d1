"""What numbers may be: every numeric flag, field and argument has a range, checked before work starts."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError

_NUMBER = re.compile(r"[-+0-9.eE]{1,64}")


@dataclass(frozen=True)
class Range:
    """Numbers between two ends; as argparse's `type`, the range of a flag.

    Attributes:
        kind: `int` or `float`.
        low: the smallest allowed number.
        high: the largest allowed one.
        above: whether `low` itself is not allowed.
    """

    kind: type
    low: float
    high: float
    above: bool = False

    def __str__(self) -> str:
        low = f"above {_text(self.low)}" if self.above else _text(self.low)
        return f"{low} to {_text(self.high)}"

    def __contains__(self, value: object) -> bool:
        kinds = (int,) if self.kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        # What is not finite is not between them either.
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __call__(self, text: str) -> float:
        """Parses a flag's value.

        Raises:
            argparse.ArgumentTypeError: no number, or one outside; our parser puts the flag before "is".
        """
        try:
            # int() would also take "1_0", " 1" and other digits, and much time for thousands of them.
            value = self.kind(text) if _NUMBER.fullmatch(text) else None
        except (ValueError, OverflowError):
            value = None
        if value not in self:
            raise argparse.ArgumentTypeError(f"is {text if value is not None else show(text)}, allowed: {self}")
        return value

    def check(self, name: str, value: object) -> float:
        """Returns a value that comes from somewhere else than a flag.

        Args:
            name: what to call it in the message.
            value: the value.

        Raises:
            UserError: no number, or one outside.
        """
        if value not in self:
            raise UserError(f"{name} is {show(value)}, allowed: {self}")
        return value


def _text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


# numpy's and scikit-learn's generators take no other seeds.
SEED = Range(int, 0, 2**32 - 1)
THREADS = Range(int, 1, 1024)
BEAM = Range(int, 1, 1000)
TOKENS = Range(int, 1, 10_000_000)
"""Tokens of a batch."""
LENGTH = Range(int, 1, 100_000)
"""Tokens of a sentence."""
LENPEN = Range(float, -50.0, 50.0)
"""Power of a length: LENGTH.high to this power is still a number."""
POSITIONS = Range(int, 1, 10_000_000)
"""Longest input of a model, in tokens."""
SENTENCES = Range(int, 1, 10_000_000)
VOCABULARY = Range(int, 5, 5_000_000)
"""Entries of a dictionary: fairseq's four special ones and a word."""
RUNS = Range(int, 4, 1_000_000)
"""Timed runs: quartiles need four."""
WARMUP = Range(int, 0, 1_000_000)
SAMPLES = Range(int, 2, 10_000_000)
EVALUATIONS = Range(int, 1, 1_000_000_000)
MINUTES = Range(float, 0.0, 1e7, above=True)
PROBABILITY = Range(float, 0.0, 1.0)
POPULATION = Range(int, 1, 1_000_000)
CHILDREN = Range(int, 0, 1_000_000)
PASSES = Range(int, 1, 1000)
PROCESSES = Range(int, 1, 65_536)
RANK = Range(int, 0, 65_535)
UPDATES = Range(int, 0, 2**62)
RESAMPLES = Range(int, 0, 1_000_000)
"""Of a bootstrap; 0: none."""
TUNING = Range(int, 1, 1_000_000)
"""Updates of the fine-tuning of a candidate."""
EXAMPLES = Range(int, 1, 1_000_000)
"""Of an update."""
RATE = Range(float, 0.0, 1.0, above=True)
"""Learning rate."""
COUNT = Range(int, 1, 1_000_000_000)
