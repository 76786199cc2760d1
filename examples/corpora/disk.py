"""How much space the preparation of a corpus needs, and what of it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.config import PipelineError

from corpora.recipes import Recipe

_GROWTH = 4
"""Clean, encoded and binarised text, in sizes of the raw text."""
_UNZIPPED = 4
"""Text in sizes of its .gz file."""
_PAIR = 2000
"""Bytes that a pair takes in all its forms, with a margin."""


def size_text(size: float) -> str:
    """Returns `20 MB` or `1.7 GB`."""
    return f"{size / 1e6:.0f} MB" if size < 1e8 else f"{size / 1e9:.1f} GB"


def download_size(recipe: Recipe, archives: Mapping[str, Path]) -> float:
    """Returns the bytes of the archives that are still to be downloaded, about."""
    size = 0.0
    for source in recipe.sources:
        if source.name in archives and not archives[source.name].exists():
            part = archives[source.name].with_name(source.file + ".part")
            size += max(0, source.gigabytes * 1e9 - (part.stat().st_size if part.exists() else 0))
    return size


def work_size(recipe: Recipe, given: Iterable[Path], limit: int | None) -> float:
    """Returns the bytes that the work takes besides the downloads, about.

    Args:
        recipe: what to do.
        given: files of plain text; empty: the text is in archives.
        limit: lines of each corpus, or None.
    """
    files = list(given)
    if files:
        raw = sum(file.stat().st_size * (_UNZIPPED if file.suffix == ".gz" else 1) for file in files)
        whole, unpacked, corpora = raw * _GROWTH, 0.0, 1
    else:
        whole, corpora = recipe.gigabytes * 1e9, len(recipe.sources)
        # A trial unpacks whole files too, one corpus at a time; of the pairs in an archive ours is one.
        unpacked = max(source.gigabytes * 1e9 for source in recipe.sources if source.kind != "table")
    return whole if limit is None else min(whole, unpacked + limit * corpora * _PAIR)


def check_space(folder: Path, needed: float, check: bool) -> str:
    """Returns what there is, in words.

    Args:
        folder: where it is needed; may not exist yet.
        needed: bytes.
        check: whether to refuse.

    Raises:
        PipelineError: the disk is too small.
    """
    folder = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if check and free < needed:
        raise PipelineError(
            f"{folder} has {size_text(free)} free, about {size_text(needed)} are needed: give another --output, a "
            "--limit, or --no-disk-check"
        )
    return f"free in {folder}: {size_text(free)}"


def present_size(folders: Iterable[Path]) -> int:
    """Returns the bytes of all files in folders, which need not exist."""
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
