"""What `fairseq-generate` printed, read in the order of the data, and made into a corpus."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.paths import exists, is_file

_LINE = re.compile(r"([SH])-(\d{1,18})\t(.*)", re.DOTALL)


@dataclass
class Generated:
    """A sentence.

    Attributes:
        source: as printed; None: it was not (`S-`).
        hypothesis: the best one, as printed; None: there is none.
        score: of it, as printed.
    """

    source: str | None = None
    hypothesis: str | None = None
    score: str = ""


def read_generated(*paths: str | os.PathLike) -> dict[int, Generated]:
    """Reads output of `fairseq-generate`, whose batches are in any order.

    Args:
        paths: files; those of its shards (`--distributed-rank`) together.

    Returns:
        Number of the sentence in the data -> what was printed of it, in order.

    Raises:
        UserError: a file that is missing, unreadable or without sentences, or two that hold the same one.
    """
    found: dict[int, Generated] = {}
    origin: dict[int, str | os.PathLike] = {}
    for path in paths:
        for kind, number, text in _lines(path):
            if origin.setdefault(number, path) != path:
                raise UserError(f"{path} and {origin[number]} both hold sentence {number}: give each output once")
            sentence = found.setdefault(number, Generated())
            if kind == "S":
                sentence.source = text
            elif sentence.hypothesis is None:  # the best of several comes first
                sentence.score, _, sentence.hypothesis = text.partition("\t")
        if path not in origin.values():
            raise UserError(f"{path} holds no sentence: expected what fairseq-generate prints (S-0, H-0, ...)")
    return dict(sorted(found.items()))


def _lines(path: str | os.PathLike) -> Iterator[tuple[str, int, str]]:
    if not exists(path):
        raise UserError(f"{path} does not exist")
    if not is_file(path):
        raise UserError(f"cannot read {path}: it is no file of text")
    try:
        # Some gigabytes for a large corpus. No other line ends than fairseq's: a sentence may hold these.
        with open(path, encoding="utf-8", newline="\n") as stream:
            for line in stream:
                match = _LINE.match(line.removesuffix("\n"))
                if match and not line.endswith("\n"):
                    raise UserError(f"{path} is cut off: its last line has no end")
                if match:
                    yield match.group(1), int(match.group(2)), match.group(3)
    except UnicodeDecodeError:
        raise UserError(f"{path} is no UTF-8 text file") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def write_corpus(
    generated: Mapping[int, Generated], outputs: Sequence[str | os.PathLike], max_length: int, post_process: str | None
) -> Counter:
    """Writes sources and their best hypotheses, one a line, in the order of the data.

    A pair with an empty side, or with a longer hypothesis than is allowed, is left out: a teacher that runs into
    fairseq's limit repeats itself.

    Args:
        generated: see :func:`read_generated`.
        outputs: file of the sources, and of the hypotheses.
        max_length: tokens of a hypothesis, as printed.
        post_process: fairseq's name of the subwords to rejoin (`sentencepiece`, `subword_nmt`); None: keep them.

    Returns:
        How many sentences were `kept`, were `empty` or `long`, or are `missing` between the first and the last.

    Raises:
        UserError: sources or hypotheses were not printed, no pair is left, or a file cannot be written.
    """
    counts = Counter(kept=0, empty=0, long=0, missing=max(generated) + 1 - len(generated))
    for number, sentence in generated.items():
        for name, text in (("source (S-)", sentence.source), ("hypothesis (H-)", sentence.hypothesis)):
            if text is None:
                raise UserError(
                    f"sentence {number} has no {name}: the output of fairseq-generate is cut off, or of other data"
                )
    with ExitStack() as files:
        streams = [files.enter_context(atomic_write(Path(output))) for output in outputs]
        for sentence in generated.values():
            tokens = len(sentence.hypothesis.split())
            kind = "long" if tokens > max_length else "kept" if tokens and sentence.source.strip() else "empty"
            counts[kind] += 1
            if kind == "kept":
                for stream, text in zip(streams, (sentence.source, sentence.hypothesis)):
                    stream.write(f"{_rejoined(text, post_process)}\n")
        if not counts["kept"]:
            raise UserError(
                f"no sentence is left: {counts['empty']} are empty, {counts['long']} have hypotheses of more than "
                f"{max_length} tokens"
            )
    return counts


def _rejoined(text: str, kind: str | None) -> str:
    if kind is not None:
        from fairseq.data.data_utils import post_process

        text = post_process(text, kind)
    # A carriage return would be a line's end to fairseq-preprocess.
    return text.replace("\r", " ").strip()
