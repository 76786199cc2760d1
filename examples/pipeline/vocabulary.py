"""The joint sentencepiece vocabulary, the encoded text and fairseq's dictionary."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.text import SPLITS, read_lines, write_lines

MAX_TRAIN_PIECES = 250
# The models have 1024 positions, and generation makes up to 200 pieces more than the source has.
MAX_TEST_PIECES = 800


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


def encode(model: Path, text: Path, output: Path, languages: tuple[str, str]) -> dict[str, int]:
    """Writes all splits as pieces.

    Pairs longer than :data:`MAX_TRAIN_PIECES` are left out of train and valid. In test a longer side is cut
    at :data:`MAX_TEST_PIECES`: no line may vanish there, and scoring uses the raw references anyway.

    Returns:
        How many pairs were left out ("dropped") and how many sides were cut ("cut").

    Raises:
        PipelineError: nothing is left.
    """
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    counts = {"dropped": 0, "cut": 0}
    for split in SPLITS:
        sides = [processor.encode(read_lines(text / f"{split}.{lang}"), out_type=str) for lang in languages]
        if split == "test":
            counts["cut"] += sum(len(pieces) > MAX_TEST_PIECES for side in sides for pieces in side)
            sides = [[pieces[:MAX_TEST_PIECES] for pieces in side] for side in sides]
        else:
            pairs = list(zip(*sides))
            kept = [pair for pair in pairs if max(map(len, pair)) <= MAX_TRAIN_PIECES]
            counts["dropped"] += len(pairs) - len(kept)
            if not kept:
                raise PipelineError(f"{text}: every pair of {split} is longer than {MAX_TRAIN_PIECES} pieces")
            sides = [list(side) for side in zip(*kept)]
        for side, language in zip(sides, languages):
            write_lines(output / f"{split}.{language}", [" ".join(pieces) for pieces in side])
    return counts
