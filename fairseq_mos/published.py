"""Models by path, URL or name: what `torch.hub` users give, as a file or folder of this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.parse
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import msgspec

from fairseq_mos import archives, download
from fairseq_mos.documents import convert, read_yaml, show
from fairseq_mos.errors import UserError
from fairseq_mos.files import exclusive, staging
from fairseq_mos.paths import exists, found_below, is_file

_MAX_NAME = 200  # what lies beside a download has a longer name
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    sha256: Optional[_Digest] = None  # noqa: UP045


def fetch_model(source: str | os.PathLike | None, progress: bool = True, entry: str = "mos_subnet") -> str:
    """Returns a local path for what `torch.hub` users name a model by.

    A URL is downloaded and unpacked once, into a folder of torch's hub folder; of several processes that want it,
    one does so and the others wait.

    Args:
        source: a path, a URL of a checkpoint or archive, or a name of the list of published models.
        progress: show a bar.
        entry: of `hubconf.py`, for messages.

    Raises:
        UserError: none of these, a download that failed, or an archive that is damaged, has no model or is no mere
            folder of files (:mod:`fairseq_mos.archives`).
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if source is None or source == "":
        raise UserError(f"{entry} needs a model: give checkpoint=PATH, URL or name")
    if not isinstance(source, str):
        raise UserError(f"checkpoint is {show(source)}, expected a path, URL or name")
    if "://" not in source and exists(source):
        return source
    digest = None
    if "://" not in source:
        known = _published(source)
        source, digest = known.url, known.sha256
    url = download.request_url(source)
    name = Path(urllib.parse.urlsplit(url).path).name[-_MAX_NAME:]
    if name in ("", ".."):
        raise UserError(f"cannot download {show(source, 200)[1:-1]}: it names no file")
    from torch import hub

    # Two models may have the same file name.
    folder = Path(hub.get_dir(), "fairseq_mos", hashlib.sha256(url.encode()).hexdigest()[:16])
    with exclusive(folder, partial(download.logger.warning, "waiting for another process that fetches %s", url)):
        try:
            file = download.download(url, folder / name, digest, progress)
            suffix = next((suffix for suffix in archives.SUFFIXES if name.endswith(suffix)), None)
            return str(_unpacked(file, folder / (name.removesuffix(suffix) or "model")) if suffix else file)
        finally:
            # Nothing is left of what was no model; a folder with something in it stays.
            with suppress(OSError):
                folder.rmdir()


def _published(name: str) -> _Entry:
    file = _published_list()
    known = convert(read_yaml(file, "list of published models") or {}, dict[str, object], f"{file}")
    if name not in known:
        exists(name)  # says what is wrong with a path that cannot be one
        names = ", ".join(known) or "none published yet"
        raise UserError(
            f"checkpoint {show(name, 200)[1:-1]}: no such file, and no model of that name (names: {names})"
        )
    return convert(known[name], _Entry, f"{file}: {name}", "a published model is NAME: {url: URL, sha256: DIGEST}")


def _published_list() -> Path:
    from fairseq_mos.arch.shipped import configs_folder

    return Path(os.environ.get("FAIRSEQ_MOS_HUB") or configs_folder() / "hub.yaml")


def _unpacked(archive: Path, folder: Path) -> Path:
    """Unpacks an archive once and returns the file or folder in it that is the model."""
    found = _model_in(folder)
    if found is None:
        with staging(folder) as stage:
            try:
                archives.unpack(archive, stage / "new")
                found = _model_in(stage / "new")
                if found is None:
                    raise archives.BadArchive("it holds neither arch.json nor a .pt file")
            except archives.BadArchive as error:
                # Neither half a model nor an archive that would fail again the next time.
                archive.unlink(missing_ok=True)
                raise UserError(
                    f"cannot unpack {archive}: {error}; it was removed, the same call downloads it anew"
                ) from error
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(stage / "new", folder)
        found = _model_in(folder)
    return found


def _model_in(folder: Path) -> Path | None:
    about = [file for file in found_below(folder, "**/arch.json") if is_file(file)]
    if about:
        return about[0].parent
    return next((file for file in found_below(folder, "**/*.pt") if is_file(file)), None)
