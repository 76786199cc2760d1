"""Reads raw parallel text, checks it and writes it in the form that the later stages want."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, PipelineError
from pipeline.work import write_text

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class RawCorpus:
    """Where the raw text is.

    Attributes:
        source_lang: language of the first file of each pair.
        target_lang: language of the second.
        files: split -> (source file, target file).
    """

    source_lang: str
    target_lang: str
    files: dict[str, tuple[Path, Path]]

    def paths(self) -> list[Path]:
        """All files, in a fixed order."""
        return [path for split in SPLITS for path in self.files[split]]


def find_corpus(folder: Path, config: Config, source_lang: str, target_lang: str) -> RawCorpus:
    """Finds the six files.

    Raises:
        PipelineError: one is missing; names it, and the languages that are there.
    """
    files = {}
    for split in SPLITS:
        pair = []
        for language in (source_lang, target_lang):
            names = [f"{name}.{language}" for name in config.splits[split]]
            candidates = [folder / f"{name}{ending}" for name in names for ending in ("", ".gz")]
            found = next((path for path in candidates if path.is_file()), None)
            if found is None:
                raise PipelineError(
                    f"{folder} has no {' or '.join(names)} (or the same with .gz); "
                    f"{_languages(folder, config)}"
                )
            pair.append(found)
        files[split] = (pair[0], pair[1])
    return RawCorpus(source_lang, target_lang, files)


def _languages(folder: Path, config: Config) -> str:
    there = set()
    for name in config.splits["train"]:
        for path in folder.glob(f"{name}.*"):
            there.add(path.name[len(name) + 1 :].removesuffix(".gz"))
    return f"training text is there in: {', '.join(sorted(there)) or 'no language'}"


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a text file, plain or gzipped, without their ends.

    Only line feeds end lines: other characters that Unicode calls line ends belong to the text.

    Raises:
        PipelineError: unreadable, or not UTF-8.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PipelineError(f"{path}: line {line} is not UTF-8 text") from error
    except (EOFError, OSError, zlib.error) as error:
        raise PipelineError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.rstrip("\r") for line in lines]


def read_pairs(files: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """Returns both sides of a split.

    Raises:
        PipelineError: a side is empty, or they have different numbers of lines.
    """
    source, target = (read_lines(path) for path in files)
    for path, lines in zip(files, (source, target)):
        if not any(line.strip() for line in lines):
            raise PipelineError(f"{path} is empty: it has no line with text")
    if len(source) != len(target):
        raise PipelineError(
            f"the sides differ in length: {files[0]} has {len(source)} lines, {files[1]} has {len(target)}"
        )
    return source, target


def normalise(line: str) -> str:
    """Makes every run of white space (U+00A0 and its like too) one plain space, as fairseq would anyway."""
    return " ".join(line.split())


def prepare(corpus: RawCorpus, output: Path) -> dict[str, int]:
    """Writes `SPLIT.LANG` with normalised white space, and `test.raw.LANG` untouched, for scoring.

    Pairs with an empty side are left out of train and valid; test keeps every line.

    Returns:
        Split -> pairs written, and "dropped" -> pairs left out.

    Raises:
        PipelineError: see :func:`read_pairs`.
    """
    counts = {"dropped": 0}
    texts = {split: read_pairs(corpus.files[split]) for split in SPLITS}
    for split, (source, target) in texts.items():
        pairs = [(normalise(a), normalise(b)) for a, b in zip(source, target)]
        if split != "test":
            kept = [pair for pair in pairs if all(pair)]
            counts["dropped"] += len(pairs) - len(kept)
            pairs = kept
        if not pairs:
            raise PipelineError(f"{corpus.files[split][0]}: no line has text on both sides")
        counts[split] = len(pairs)
        for column, language in enumerate((corpus.source_lang, corpus.target_lang)):
            write_lines(output / f"{split}.{language}", [pair[column] for pair in pairs])
    for column, language in enumerate((corpus.source_lang, corpus.target_lang)):
        write_lines(output / f"test.raw.{language}", texts["test"][column])
    return counts


def write_lines(path: Path, lines: list[str]) -> None:
    """Writes one line each."""
    write_text(path, "".join(f"{line}\n" for line in lines))
