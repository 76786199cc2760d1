"""Subwords, learnt from the training text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.vocabulary import write_dictionary


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
