"""Files from the network: resumed where a download broke off, checked, and in place only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
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
            again = "; the same command continues it" if part.exists() else "; check the address and the network"
            raise UserError(f"cannot download {url}: {reason}{again}") from error
        except OSError as error:
            raise UserError(f"cannot write {target}: {error.strerror or error}") from error
        os.replace(part, target)
        _version_file(part).unlink(missing_ok=True)
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
        if _version_file(part).exists():
            # The server sends the whole file if it is another one by now.
            request.add_header("If-Range", _version_file(part).read_text("utf-8"))
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
        if not begin:
            _remember_version(part, answer.headers)
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


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _remember_version(part: Path, headers) -> None:
    """Keeps what tells a server which version of the file was begun, if it gave anything that does."""
    tag = headers.get("ETag")
    # A weak tag may stand for files that differ in some bytes.
    version = headers.get("Last-Modified") if tag is None or tag.startswith("W/") else tag
    if version:
        _version_file(part).write_text(version, "utf-8")
    else:
        _version_file(part).unlink(missing_ok=True)


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
        entry = known[source]
        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            raise UserError(f"the list of published models, {_published_list()}: {source} has no url")
        source, digest = entry["url"], entry.get("sha256")
    from torch import hub

    name = Path(urllib.parse.urlparse(source).path).name
    # Two models may have the same file name.
    folder = Path(hub.get_dir()) / "fairseq_mos" / hashlib.sha256(source.encode()).hexdigest()[:16]
    file = download(source, folder / name, digest, progress)
    suffix = next((suffix for suffix in _ARCHIVES if name.endswith(suffix)), None)
    return str(_unpacked(file, folder / name.removesuffix(suffix)) if suffix else file)


def _published() -> dict:
    import yaml

    try:
        known = yaml.safe_load(_published_list().read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read the list of published models, {_published_list()}: {reason}") from error
    if not isinstance(known, dict):
        raise UserError(f"the list of published models, {_published_list()}: expected NAME: {{url: URL}}")
    return known


def _published_list() -> Path:
    from fairseq_mos.arch.shipped import configs_folder

    return Path(os.environ.get("FAIRSEQ_MOS_HUB") or configs_folder() / "hub.yaml")


def _unpacked(archive: Path, folder: Path) -> Path:
    """Unpacks an archive once and returns the folder in it that holds the model."""
    if not folder.exists():
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        try:
            if archive.name.endswith(".zip"):
                with zipfile.ZipFile(archive) as file:
                    file.extractall(new)
            else:
                with tarfile.open(archive) as file:
                    # Nothing outside of the folder, no devices, no special permissions.
                    file.extractall(new, filter="data")
        except (OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            # Neither half a model nor an archive that would fail again the next time.
            shutil.rmtree(new, ignore_errors=True)
            archive.unlink(missing_ok=True)
            reason = " ".join(str(error).split())
            raise UserError(
                f"cannot unpack {archive}: {reason}; it was removed, the same call downloads it anew"
            ) from error
        os.replace(new, folder)
    inner = sorted(folder.rglob("arch.json")) or sorted(folder.rglob("*.pt"))
    if not inner:
        raise UserError(f"{archive} holds neither arch.json nor a .pt file")
    return inner[0].parent if inner[0].name == "arch.json" else inner[0]
