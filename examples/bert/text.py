"""The text that is trained on: read, cleaned, split, cut into subwords, binarised."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.text import normalise, read_lines, write_lines

EVERY = 50
"""One sentence in so many is kept for validation."""

_SHARED = ("multi30k/train.en.gz", "glue/SST-2/train.tsv.gz", "glue/STS-B/sts-train.tsv.gz")

LONGEST = 62
"""Pieces of a sentence; the model has 64 positions for them, its beginning and its end."""


def files_of(folder: Path | None, shared: Path) -> list[Path]:
    """Returns the files of a text.

    Raises:
        PipelineError: there are none.
    """
    if folder is None:
        return [shared / name for name in _SHARED]
    found = sorted([*folder.glob("*.txt"), *folder.glob("*.txt.gz")])
    if not found:
        raise PipelineError(f"{folder} has no *.txt or *.txt.gz")
    return found


def sentences(path: Path) -> Iterator[str]:
    """Yields the sentences of a file: lines, or the columns of a GLUE task that hold sentences."""
    lines = read_lines(path)
    if "SST-2" in path.parts:
        yield from (row[0] for row in csv.reader(lines[1:], delimiter="\t", quoting=csv.QUOTE_NONE) if row)
    elif "STS-B" in path.parts:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield from row[5:7]
    else:
        yield from lines


def write_splits(files: list[Path], folder: Path) -> tuple[int, int]:
    """Writes `train.txt` and `valid.txt`, each sentence once; returns how many.

    Raises:
        PipelineError: there are too few.
    """
    once = dict.fromkeys(filter(None, (normalise(line) for path in files for line in sentences(path))))
    lines = list(once)
    if len(lines) < 2 * EVERY:
        raise PipelineError(f"{files[0].parent}: {len(lines)} different sentences, expected {2 * EVERY} or more")
    valid = lines[::EVERY]
    train = [line for number, line in enumerate(lines) if number % EVERY]
    write_lines(folder / "train.txt", train)
    write_lines(folder / "valid.txt", valid)
    return len(train), len(valid)


def encode(model: Path, source: Path, output: Path) -> int:
    """Writes a text as pieces, without sentences that are too long; returns how many these were."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [processor.encode(line, out_type=str) for line in read_lines(source)]
    kept = [" ".join(line) for line in pieces if len(line) <= LONGEST]
    write_lines(output, kept)
    return len(pieces) - len(kept)
