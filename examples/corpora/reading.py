"""Reads parallel text from what publishers offer, line by line: the corpora do not fit into memory."""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import PipelineError

from corpora.recipes import Source

SPLITS = ("train", "valid", "test")
_TAGS = ("<url>", "<talkid>", "<keywords>", "<speaker>", "<reviewer", "<translator")
_SEGMENT = re.compile(r"<seg[^>]*>(.*)</seg>")

Pairs = Iterator["tuple[str, str]"]


class DamagedFile(PipelineError):
    """A file cannot be unpacked; what to do about it depends on where it is from."""


def source_pairs(
    source: Source, archive: Path, languages: tuple[str, str], scratch: Path, dropped: Counter
) -> Pairs:
    """Yields the pairs of a published corpus.

    Args:
        source: which one.
        archive: its download.
        languages: source and target language.
        scratch: folder for unpacked files.
        dropped: counts the rows of a table that are none, by reason.

    Raises:
        DamagedFile: a damaged archive.
        PipelineError: a missing member, or sides of different lengths.
    """
    if source.kind == "table":
        columns = source.members.split()
        order = [columns.index(language) for language in languages]
        for line in _lines(archive):
            cells = line.split("\t")
            if len(cells) < len(columns):
                # Published tables have a few; they should not stop a run of hours.
                dropped[f"{archive.name} has fewer than {len(columns)} columns there"] += 1
                continue
            yield cells[order[0]], cells[order[1]]
        return
    files = [unpack(archive, source.members.format(lang=language), scratch) for language in languages]
    if source.kind == "tagged":
        yield from text_pairs(files, _tagged)
    else:
        yield from text_pairs(files)


def text_pairs(files: list[Path], read=None) -> Pairs:
    """Yields the pairs of two files.

    Raises:
        PipelineError: one has more lines than the other, or is no UTF-8 text.
    """
    read = read or _lines
    for number, pair in enumerate(itertools.zip_longest(*map(read, files)), 1):
        if None in pair:
            shorter = files[pair.index(None)]
            raise PipelineError(
                f"the sides differ in length: {shorter} ends after {number - 1} lines, the other goes on"
            )
        yield pair


def unpack(archive: Path, member: str, scratch: Path) -> Path:
    """Returns a member of an archive as a file, unpacked once.

    Raises:
        DamagedFile: the archive is damaged, or would unpack to more than an archive of its size should.
        PipelineError: it has no such member, or the disk is full.
    """
    target = scratch / Path(member).name
    if target.exists():
        return target
    scratch.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.tmp")
    from fairseq_mos.archives import BadArchive, unpack_file

    try:
        unpack_file(archive, member, part)
    except KeyError as error:
        raise PipelineError(f"{archive} has no file {member}") from error
    except BadArchive as error:
        raise DamagedFile(f"{archive} is damaged ({error})") from error
    except OSError as error:
        raise PipelineError(f"cannot unpack {archive}: {error.strerror or error}") from error
    part.rename(target)
    return target


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for line in stream:
                number += 1
                yield line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: line {number} is not UTF-8 text") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedFile(f"{path} is damaged ({error})") from error
    except OSError as error:
        raise PipelineError(f"cannot read {path}: {error.strerror or error}") from error


def _tagged(path: Path) -> Iterator[str]:
    """Yields the text of an IWSLT training file, without its tags and what stands between them."""
    for line in _lines(path):
        if not line.lstrip().startswith(_TAGS):
            yield re.sub(r"</?(title|description)>", "", line)


def segments(path: Path) -> list[str]:
    """Returns the sentences of an IWSLT test file, whose apostrophes are typographic in one language alone."""
    found = (_SEGMENT.search(line) for line in _lines(path))
    return [match.group(1).strip().replace("\u2019", "'") for match in found if match]


def given_text(folder: Path, languages: tuple[str, str]) -> dict[str, tuple[Path, Path]]:
    """Returns split -> files of plain text in a folder; empty where it holds no training text.

    Raises:
        PipelineError: one side of a split is missing.
    """
    found = {}
    for split in SPLITS:
        pair = [
            next((p for p in (folder / f"{split}.{lang}", folder / f"{split}.{lang}.gz") if p.is_file()), None)
            for lang in languages
        ]
        if all(pair):
            found[split] = tuple(pair)
        elif any(pair):
            raise PipelineError(f"{folder} has no {split}.{languages[pair.index(None)]}, only the other side")
    return found if "train" in found else {}
