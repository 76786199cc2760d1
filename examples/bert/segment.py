#!/usr/bin/env python3
"""Cuts text with BERT's own vocabulary, for training that starts from a BERT (`--init-from`).

    python examples/bert/segment.py --vocab bert-base-uncased/vocab.txt --output text train.txt valid.txt

Writes the pieces of each file into the folder, a line a line, the dictionary (`dict.txt`) and a copy of the vocabulary,
which tells hub, GLUE and export how the model's text is cut:

    fairseq-preprocess --only-source --srcdict text/dict.txt --trainpref text/train.txt --validpref text/valid.txt \\
        --destdir data-bin && cp text/vocab.txt data-bin
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from fairseq_mos import wordpiece  # noqa: E402
from fairseq_mos.errors import UserError, one_line  # noqa: E402
from fairseq_mos.files import atomic_write  # noqa: E402

_LINES = 10_000
"""Lines that are cut at once, on all processors."""


def parse_args(words: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("--vocab", type=Path, required=True, metavar="FILE", help="vocab.txt of a BERT")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder that is written")
    parser.add_argument("files", nargs="+", type=Path, metavar="TEXT", help="UTF-8 text, a sentence a line")
    return parser.parse_args(words)


def pieces(lines: Iterator[str], tokenizer) -> Iterator[str]:
    """Yields the pieces of each line."""
    while batch := list(itertools.islice(lines, _LINES)):
        for encoded in tokenizer.encode_batch(batch, add_special_tokens=False):
            yield " ".join(encoded.tokens)


def segment(vocab: Path, output: Path, files: list[Path]) -> None:
    """Writes the folder.

    Raises:
        UserError: a file that is missing, no UTF-8, or of a name that another one has; no vocabulary of BERT.
    """
    entries = wordpiece.read_entries(vocab)
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1 or name in (wordpiece.FILE, "dict.txt"):
            raise UserError(f"{name}: the pieces of each file are written under its name, which is taken")
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is no file")
    tokenizer = _tokenizer(vocab, wordpiece.is_cased(entries))
    output.mkdir(parents=True, exist_ok=True)
    for file in files:
        try:
            with file.open(encoding="utf-8") as lines, atomic_write(output / file.name) as stream:
                for line in pieces(_progress(lines, file.name), tokenizer):
                    stream.write(line + "\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is no UTF-8: {one_line(error, 160)}") from error
    with atomic_write(output / "dict.txt") as stream:
        stream.writelines(f"{entry} 1\n" for entry in wordpiece.words(entries))
    with atomic_write(output / wordpiece.FILE) as stream:
        stream.writelines(f"{entry}\n" for entry in entries)


def _tokenizer(vocab: Path, cased: bool):
    try:
        from transformers import BertTokenizerFast
    except ImportError as error:
        missing = 'cutting text as BERT does takes transformers: pip install "fairseq-mos[huggingface]"'
        raise UserError(missing) from error
    return BertTokenizerFast(str(vocab), do_lower_case=not cased).backend_tokenizer


def _progress(lines, name: str) -> Iterator[str]:
    from tqdm import tqdm

    return iter(tqdm(lines, unit="line", desc=name, dynamic_ncols=True, leave=False))


def main(words: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse_args(words)
    try:
        segment(args.vocab, args.output, args.files)
    except (UserError, OSError) as error:
        print(f"segment.py: error: {one_line(error, 400)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
