"""The joint sentencepiece vocabulary, the encoded text and fairseq's dictionary."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.text import write_lines

# The models have 1024 positions, and generation makes up to 200 pieces more than the source has.
MAX_PIECES = {"train": 250, "valid": 250, "test": 800}
"""Longest side of a pair."""


def train_model(texts: list[Path], prefix: Path, size: int, say: Callable[[str], None]) -> int:
    """Trains a unigram model on both sides of the training text and writes PREFIX.model and PREFIX.vocab.

    Text is not normalised, so that references can be reproduced to the letter; digits stand alone.

    Args:
        texts: the training text.
        prefix: where to write.
        size: entries of the vocabulary; lowered where the text is too small for it.
        say: told about a lowered size.

    Returns:
        The number of entries.

    Raises:
        PipelineError: the text has more different characters than the vocabulary has entries, or is too small
            for any vocabulary.
    """
    import sentencepiece

    prefix.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=[str(path) for path in texts],
                model_prefix=str(prefix),
                vocab_size=size,
                model_type="unigram",
                character_coverage=1.0,
                normalization_rule_name="identity",
                split_digits=True,
                # A sum over threads would depend on their number.
                num_threads=1,
                minloglevel=3,
            )
            return size
        except RuntimeError as error:
            too_high = re.search(r"value <= (\d+)", str(error))
            if not too_high:
                raise PipelineError(_explain(str(error), size, texts)) from error
            largest = int(too_high.group(1))
            say(f"the text is too small for a vocabulary of {size}: using {largest}")
            size = largest
    raise PipelineError(f"no sentencepiece vocabulary fits {texts[0]}: the text is too small")


def _explain(message: str, size: int, texts: list[Path]) -> str:
    required = re.search(r"required_chars\D*(\d+) vs (\d+)", message) or re.search(r"(\d+) vs (\d+)", message)
    if required:
        needed = max(map(int, required.groups()))
        return (
            f"a vocabulary of {size} is too small for the characters in {texts[0].parent}: "
            f"give --vocabulary {needed} or more"
        )
    return f"sentencepiece cannot use {' and '.join(map(str, texts))}: {' '.join(message.split())[-200:]}"


def write_dictionary(model: Path, output: Path) -> None:
    """Writes fairseq's dictionary with the model's pieces, most frequent first."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [
        processor.id_to_piece(index)
        for index in range(processor.vocab_size())
        if not (processor.is_unknown(index) or processor.is_control(index))
    ]
    # fairseq adds its own special symbols; the counts are not used.
    write_lines(output, [f"{piece} 1" for piece in pieces])


def encode(
    model: Path, pairs: Iterable[tuple[str, str]], files: Sequence[Path], longest: int, cut: bool, workers: int = 1
) -> tuple[int, int]:
    """Writes a split as pieces.

    Args:
        model: sentencepiece model.
        pairs: its text.
        files: where to write each side.
        longest: pieces of a side.
        cut: cut longer sides, as in a test set, of which no line may vanish; else their pairs are left out.
        workers: threads.

    Returns:
        How many pairs were written, and how many were too long.
    """
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pairs, written, long = iter(pairs), 0, 0
    with ExitStack() as stack:
        outputs = [stack.enter_context(open(file, "w", encoding="utf-8", newline="\n")) for file in files]
        while batch := list(itertools.islice(pairs, 100_000)):
            sides = [processor.encode(list(side), out_type=str, num_threads=workers) for side in zip(*batch)]
            for pair in zip(*sides):
                if max(map(len, pair)) > longest:
                    long += 1
                    if not cut:
                        continue
                written += 1
                for output, pieces in zip(outputs, pair):
                    output.write(" ".join(pieces[:longest]) + "\n")
    return written, long
