"""Subwords: learnt from the training text, and applied to all of it."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.vocabulary import write_dictionary

from corpora.reading import text_pairs
from corpora.recipes import MAX_PIECES


def learn(files: Sequence[Path], model: Path, args: argparse.Namespace) -> None:
    """Learns a sentencepiece model and writes it, with a dictionary beside it.

    Args:
        files: training text.
        model: the file to write, in a folder that does not exist.
        args: the parsed flags.

    Raises:
        PipelineError: the vocabulary does not suit the text.
    """
    import sentencepiece

    model.parent.mkdir(parents=True)
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=list(map(str, files)),
            model_prefix=str(model.with_suffix("")),
            vocab_size=args.vocabulary,
            model_type="bpe",
            character_coverage=0.9999,
            # Enough to learn subwords from, and what fits into memory.
            input_sentence_size=5_000_000,
            shuffle_input_sentence=True,
            num_threads=args.workers,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise PipelineError(f"--vocabulary {args.vocabulary} does not suit this text: {reason}") from error
    write_dictionary(model, model.parent / "dict.txt")


def encode(model: Path, files: Sequence[Path], folder: Path, split: str, workers: int) -> int:
    """Writes a split in subwords.

    Args:
        model: sentencepiece model.
        files: both sides' text.
        folder: where to write files of the same names.
        split: decides how long a side may be, and what becomes of longer ones.
        workers: threads.

    Returns:
        How many pairs were too long: left out, in the test set cut.
    """
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    outputs = [open(folder / file.name, "w", encoding="utf-8", newline="\n") for file in files]  # noqa: SIM115
    long = 0
    try:
        pairs = text_pairs(list(files))
        while batch := list(itertools.islice(pairs, 100_000)):
            sides = [processor.encode(list(side), out_type=str, num_threads=workers) for side in zip(*batch)]
            for pair in zip(*sides):
                if max(map(len, pair)) > MAX_PIECES[split]:
                    long += 1
                    if split != "test":
                        continue
                    # No test sentence may vanish.
                    pair = tuple(pieces[: MAX_PIECES[split]] for pieces in pair)
                for output, pieces in zip(outputs, pair):
                    output.write(" ".join(pieces) + "\n")
    finally:
        for output in outputs:
            output.close()
    return long
