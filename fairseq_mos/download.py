"""Files from the network: resumed where a download broke off, checked, and in place only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

from fairseq_mos.errors import UserError

_CHUNK = 1 << 20
_AGENT = {"User-Agent": "fairseq-mos"}
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


def download(url: str, target: str | Path, sha256: str | None = None, progress: bool = True) -> Path:
    """Downloads a file; one that is there already is only checked.

    What a broken download has left in `TARGET.part` is continued, if the server can.

    Args:
        url: http, https, ftp or file.
        target: the file to write.
        sha256: what its digest must be, if the publisher says so.
        progress: show a bar.

    Raises:
        UserError: no network, no such file, a broken connection (the next call continues), or a wrong digest.
    """
    target = Path(target)
    if not target.exists():
        part = target.with_name(target.name + ".part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(url, part, progress)
        except urllib.error.HTTPError as error:
            raise UserError(f"{url}: the server says {error.code} {error.reason}") from error
        except (http.client.InvalidURL, ValueError) as error:
            raise UserError(f"cannot download {url}: {error}") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(f"cannot download {url}: {reason}; the same command continues it") from error
        except OSError as error:
            raise UserError(f"cannot write {target}: {error.strerror or error}") from error
        os.replace(part, target)
    if sha256 is not None and file_digest(target) != sha256:
        bad = target.with_name(target.name + ".bad")
        os.replace(target, bad)
        raise UserError(f"{url}: the file's SHA-256 is not {sha256}; it was moved to {bad}, try again")
    return target


def _fetch(url: str, part: Path, progress: bool) -> None:
    from tqdm import tqdm

    begin = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers=dict(_AGENT))
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not begin:
            raise
        # The part holds everything already, or belongs to another file.
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(begin):
            return
        part.unlink()
        begin, answer = 0, urllib.request.urlopen(urllib.request.Request(url, headers=_AGENT), timeout=60)
    with answer:
        if begin and getattr(answer, "status", None) != 206:
            begin = 0
        length = answer.headers.get("Content-Length")
        total = begin + int(length) if length else None
        name = part.name.removesuffix(".part")
        bar = tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=name, disable=not progress)
        with open(part, "ab" if begin else "wb") as stream, bar:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
            if total is not None and stream.tell() < total:
                raise ConnectionError(f"the connection ended after {stream.tell()} of {total} bytes")


def file_digest(path: str | Path) -> str:
    """Returns a file's SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch_model(source: str | None, progress: bool = True) -> str:
    """Returns a local path for what `torch.hub` users name a model by.

    Args:
        source: a path, a URL of a checkpoint or archive, or a name of the list of published models.
        progress: show a bar.

    Raises:
        UserError: none of these, or a download that failed.
    """
    if not source:
        raise UserError("mos_subnet needs a model: give checkpoint=PATH, URL or name")
    if os.path.exists(source):
        return source
    digest = None
    if "://" not in source:
        known = _published()
        if source not in known:
            names = ", ".join(known) or "none published yet"
            raise UserError(f"checkpoint {source}: no such file, and no model of that name (names: {names})")
        source, digest = known[source]["url"], known[source].get("sha256")
    from torch import hub

    name = Path(urllib.parse.urlparse(source).path).name
    # Two models may have the same file name.
    folder = Path(hub.get_dir()) / "fairseq_mos" / hashlib.sha256(source.encode()).hexdigest()[:16]
    file = download(source, folder / name, digest, progress)
    suffix = next((suffix for suffix in _ARCHIVES if name.endswith(suffix)), None)
    return str(_unpacked(file, folder / name.removesuffix(suffix)) if suffix else file)


def _published() -> dict:
    import yaml

    from fairseq_mos.arch.shipped import configs_folder

    listed = os.environ.get("FAIRSEQ_MOS_HUB") or configs_folder() / "hub.yaml"
    try:
        return yaml.safe_load(Path(listed).read_text("utf-8")) or {}
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise UserError(f"cannot read the list of published models, {listed}: {error}") from error


def _unpacked(archive: Path, folder: Path) -> Path:
    """Unpacks an archive once and returns the folder in it that holds the model."""
    if not folder.exists():
        new = folder.with_name(folder.name + ".new")
        try:
            if archive.name.endswith(".zip"):
                with zipfile.ZipFile(archive) as file:
                    file.extractall(new)
            else:
                with tarfile.open(archive) as file:
                    # Nothing outside of the folder, no devices, no special permissions.
                    file.extractall(new, filter="data")
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"cannot unpack {archive}: {error}") from error
        os.replace(new, folder)
    inner = sorted(folder.rglob("arch.json")) or sorted(folder.rglob("*.pt"))
    if not inner:
        raise UserError(f"{archive} holds neither arch.json nor a .pt file")
    return inner[0].parent if inner[0].name == "arch.json" else inner[0]
