"""Preparation: the tasks' files as what fairseq's `sentence_prediction` reads."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline import commands
from pipeline.config import PipelineError
from pipeline.text import write_lines
from pipeline.work import Work, digest_files, duration, write_text

from glue.reading import Split, find_file, read_split
from glue.tasks import TASKS, Task

SPECIAL = 2
"""Tokens of a sentence that are no pieces: `<s>` or a separator before it, its end behind it."""

REVISION = 1
"""Raised when the same files are prepared otherwise."""

Encoder = Callable[[list[str]], list[list[str]]]


def data_folder(output: Path, task: str) -> Path:
    """Returns where a task's data is prepared."""
    return output / "data" / task


def prepare(args: argparse.Namespace) -> None:
    """Prepares all tasks that are not prepared yet.

    Raises:
        PipelineError: a file that cannot be used, or a failed command.
    """
    splits = {name: _read(TASKS[name], args.data / name) for name in args.tasks}
    encode = encoder(args.bpe)
    known = _words(args.dict)
    with Work(args.output / "data", len(args.tasks)) as work:
        print(f"Preparing {', '.join(args.tasks)}\nWorking in {work.folder}", flush=True)
        for name in args.tasks:
            with work.stage(name):
                _prepare_task(work, TASKS[name], splits[name], args, encode, known)
        print(f"elapsed: {duration(time.monotonic() - work.begin)}", flush=True)


def _read(task: Task, folder: Path) -> dict[str, Split]:
    return {split: read_split(task, find_file(folder, names)) for split, names in task.splits}


def encoder(bpe: Path | None) -> Encoder:
    """Returns what cuts sentences into pieces.

    Args:
        bpe: sentencepiece model, or BERT's vocabulary; None: sentences are cut at their spaces.

    Raises:
        PipelineError: it is no sentencepiece model.
        UserError: it is no vocabulary of BERT.
    """
    if bpe is None:
        return lambda lines: [line.split() for line in lines]
    from fairseq_mos import wordpiece

    if bpe.name == wordpiece.FILE:
        from fairseq.data import encoders
        from omegaconf import OmegaConf

        pieces = encoders.build_bpe(OmegaConf.create(wordpiece.configuration(bpe)))
        return lambda lines: [pieces.encode(line).split() for line in lines]
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(bpe))
    except (OSError, RuntimeError) as error:
        raise PipelineError(f"--bpe {bpe} is no sentencepiece model: {' '.join(str(error).split())[:200]}") from error
    return lambda lines: processor.encode(lines, out_type=str)


def _words(path: Path) -> set[str]:
    from fairseq.data import Dictionary

    import fairseq_mos  # noqa: F401  (its repairs say what is wrong with a dictionary)

    return set(Dictionary.load(str(path)).symbols)


def _prepare_task(
    work: Work, task: Task, splits: dict[str, Split], args: argparse.Namespace, encode: Encoder, known: set[str]
) -> None:
    folder = data_folder(args.output, task.name)
    files = [args.dict, *([args.bpe] if args.bpe else []), *(split.path for split in splits.values())]
    settings = {"files": digest_files(files), "length": args.length, "revision": REVISION, "bpe": bool(args.bpe)}

    def action() -> None:
        encoded = folder / "encoded"
        encoded.mkdir(parents=True)
        about = {"task": task.name, "length": args.length, "examples": {}, "skipped": {}, "cut": {}, "unknown": {}}
        for name, split in splits.items():
            columns, cut = _pieces(split.sentences, encode, args.length)
            for number, lines in enumerate(columns):
                write_lines(encoded / f"input{number}.{name}", [" ".join(pieces) for pieces in lines])
            write_lines(encoded / f"label.{name}", split.labels)
            about["examples"][name], about["skipped"][name], about["cut"][name] = len(split.labels), split.skipped, cut
            about["unknown"][name] = _unknown([pieces for lines in columns for pieces in lines], known)
            about["inputs"] = len(columns)
        about["labels"] = list(task.labels)
        written = sorted(encoded.iterdir())
        about["digest"] = digest_files([args.dict, *written])
        for number in range(about["inputs"]):
            _binarise(work, args.dict, encoded, f"input{number}", splits, folder)
        if task.regression:
            for name, split in splits.items():
                write_lines(folder / "label" / f"{name}.label", split.labels)
        else:
            # A fixed order: classes of teacher and student are the same, and label 1 of MRPC is class 1.
            write_lines(encoded / "dict.label.txt", [f"{label} 1" for label in task.labels])
            _binarise(work, encoded / "dict.label.txt", encoded, "label", splits, folder)
        write_text(folder / "about.json", json.dumps(about, indent=2) + "\n")
        _tell(work, about)

    work.step(task.name, settings, [folder], action)


def _pieces(sentences: Iterable[tuple[str, ...]], encode: Encoder, length: int) -> tuple[list[list[list[str]]], int]:
    """Returns the pieces of each column, cut to a length of all together, and how many examples were cut."""
    columns = [encode(list(column)) for column in zip(*sentences)]
    cut = 0
    for pieces in zip(*columns):
        free = length - SPECIAL * len(pieces)
        cut += sum(map(len, pieces)) > free
        while sum(map(len, pieces)) > free:
            # BERT's way: of the longer one, the last.
            max(pieces, key=len).pop()
    return columns, cut


def _unknown(lines: Iterable[list[str]], known: set[str]) -> float:
    """Returns the share of pieces that the dictionary does not have."""
    counts = Counter(piece in known for pieces in lines for piece in pieces)
    return round(counts[False] / max(1, counts.total()), 6)


def _binarise(work: Work, dictionary: Path, encoded: Path, part: str, splits: Iterable[str], folder: Path) -> None:
    arguments = ["--only-source", "--srcdict", str(dictionary), "--destdir", str(folder / part), "--workers", "1"]
    names = {"train": "--trainpref", "valid": "--validpref"}
    for split, flag in names.items():
        # fairseq calls further valid sets valid1, valid2, ...
        files = [str(encoded / f"{part}.{name}") for name in splits if name.rstrip("0123456789") == split]
        arguments += [flag, ",".join(files)]
    commands.run("fairseq_cli.preprocess", arguments, work.log("preprocess"), 1, held=[work.lock.fileno()])


def _tell(work: Work, about: dict) -> None:
    for name, number in about["examples"].items():
        further = [f"{about['cut'][name]:,} cut to {about['length']} tokens"]
        if about["skipped"][name]:
            further.append(f"{about['skipped'][name]:,} lines of another number of columns left out")
        share = about["unknown"][name]
        further.append(f"{share:.1%} of the pieces not in the dictionary{': is it the right one?' * (share > 0.05)}")
        work.say(f"{name}: {number:,} examples; {'; '.join(further)}")
