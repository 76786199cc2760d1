"""Files from the network: resumed where a download broke off, checked, and in place only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import socket
import string
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError, of_system, one_line
from fairseq_mos.files import cannot_write, exclusive
from fairseq_mos.paths import exists, is_file

logger = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds without an answer after which a host is given up, while connecting as for every read."""

MAX_URL = 2000
"""Characters of a URL."""

MAX_BYTES = 2**37
"""Bytes of a file."""

_CHUNK = 1 << 20
_AGENT = {"User-Agent": "fairseq-mos"}
_SCHEMES = ("http", "https", "ftp", "file")


def download(url: str, target: str | Path, sha256: str | None = None, progress: bool = True) -> Path:
    """Downloads a file; one that is there already is only checked.

    What a broken download has left in `TARGET.part` is continued, if the server can. Of several processes that want
    the same file, one downloads it.

    Args:
        url: http, https, ftp or file.
        target: the file to write.
        sha256: what its digest must be, if the publisher says so.
        progress: show a bar.

    Raises:
        UserError: no URL, no network, no such file, no answer for :data:`TIMEOUT` seconds, a broken connection (the
            next call continues), a wrong digest, or no place to write to.
    """
    target, url = Path(target), request_url(url)
    with exclusive(target, partial(logger.warning, "waiting for another process that downloads %s", url)):
        return _downloaded(url, target, sha256, progress)


def _downloaded(url: str, target: Path, sha256: str | None, progress: bool) -> Path:
    bad = target.with_name(target.name + ".bad")
    if not exists(target):
        part = target.with_name(target.name + ".part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(url, part, progress)
            os.replace(part, target)
            _version_file(part).unlink(missing_ok=True)
            bad.unlink(missing_ok=True)
        except UserError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            raise UserError(f"{url}: the server says {error.code} {one_line(error.reason, 200)}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and of_system(error):
                raise cannot_write(target, error) from error
            raise _broken(url, part, error) from error
    elif not is_file(target):
        raise UserError(f"cannot write {target}: it is no file")
    if sha256 is not None and file_digest(target) != sha256.lower():
        os.replace(target, bad)
        raise UserError(f"{url}: the file's SHA-256 is not {sha256}; it was moved to {bad}, try again")
    return target


def request_url(url: str) -> str:
    """Returns a URL as servers understand it: what is not ASCII is escaped.

    Raises:
        UserError: it is malformed, or of a kind that is not downloaded.
    """
    complaint = f"cannot download {show(url, 200).strip(chr(39))}: "
    if not isinstance(url, str):
        raise UserError(f"{complaint}expected a URL")
    if len(url) > MAX_URL:
        raise UserError(f"{complaint}it has {len(url):,} characters, allowed: {MAX_URL:,}")
    if not url.isprintable() or " " in url:
        raise UserError(f"{complaint}it has white space or control characters")
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise UserError(f"{complaint}{one_line(error, 200)}") from None
    if parts.scheme not in _SCHEMES:
        raise UserError(f"{complaint}it does not begin with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if "@" in parts.netloc:
        # The message does not repeat a password.
        raise UserError(f"cannot download from {host}: user names and passwords in URLs are not taken")
    if parts.scheme == "file" and host not in ("", "localhost"):
        raise UserError(f"{complaint}it names a host, which files of this machine have none of")
    if parts.scheme != "file" and not host:
        raise UserError(f"{complaint}it names no host")
    if url.isascii():
        return url
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port is not None else ""
    path, query = (urllib.parse.quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, place, path, query, ""))


def file_digest(path: str | Path) -> str:
    """Returns a file's SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _broken(url: str, part: Path, error: Exception) -> UserError:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, socket.timeout):
        reason = f"no answer for {TIMEOUT:g} seconds"
    again = "the same command continues it" if is_file(part) else "check the address and the network"
    return UserError(f"cannot download {url}: {one_line(reason, 200) or type(reason).__name__}; {again}")


def _fetch(url: str, part: Path, progress: bool) -> None:
    from tqdm import tqdm

    _check_local(url)
    begin = part.stat().st_size if exists(part) else 0
    request = urllib.request.Request(url, headers=dict(_AGENT))
    if begin:
        request.add_header("Range", f"bytes={begin}-")
        version = _version(part)
        if version:
            # The server sends the whole file if it is another one by now.
            request.add_header("If-Range", version)
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not begin:
            raise
        # The part holds everything already, or belongs to another file.
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(begin):
            return
        part.unlink()
        begin, answer = 0, urllib.request.urlopen(urllib.request.Request(url, headers=_AGENT), timeout=TIMEOUT)
    with answer:
        if begin and getattr(answer, "status", None) != 206:
            begin = 0
        if begin and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            part.unlink()
            raise ConnectionError("the server continued at another place than asked; try again")
        if not begin:
            _remember_version(part, answer.headers)
        length = answer.headers.get("Content-Length", "")
        # What is no number says nothing.
        total = begin + int(length) if length.isdecimal() and len(length) < 20 else None
        _check_size(url, part, begin, total or 0)
        name = part.name.removesuffix(".part")
        bar = tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=name, disable=not progress)
        with open(part, "ab" if begin else "wb") as stream, bar:
            # read1: what has come before a host falls silent is kept.
            while (total is None or stream.tell() < total) and (chunk := answer.read1(_CHUNK)):
                stream.write(chunk)
                bar.update(len(chunk))
                if stream.tell() > MAX_BYTES:
                    break
            size = stream.tell()
        if size > MAX_BYTES:
            part.unlink()
            raise UserError(f"cannot download {url}: it has more than {MAX_BYTES:,} bytes")
        if total is not None and size < total:
            raise ConnectionError(f"the connection ended after {size} of {total} bytes")


def _check_local(url: str) -> None:
    """Checks a file URL: a pipe or a device might never end."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        path = urllib.request.url2pathname(parts.path)
        if not is_file(path):
            raise UserError(f"cannot download {url}: {'it is no file' if exists(path) else 'no such file'}")


def _check_size(url: str, part: Path, begin: int, total: int) -> None:
    if total > MAX_BYTES:
        raise UserError(f"cannot download {url}: it has {total:,} bytes, allowed: {MAX_BYTES:,}")
    free = shutil.disk_usage(part.parent).free
    if total - begin > free:
        raise UserError(f"cannot download {url}: {total - begin:,} bytes are needed, {free:,} are free on the disk")


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _version(part: Path) -> str:
    """Returns which version of the file was begun, as far as it can be sent to a server."""
    try:
        version = _version_file(part).read_text("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return version if version.isascii() and version.isprintable() else ""


def _remember_version(part: Path, headers) -> None:
    """Keeps what tells a server which version of the file was begun, if it gave anything that does."""
    tag = headers.get("ETag")
    # A weak tag may stand for files that differ in some bytes.
    version = headers.get("Last-Modified") if tag is None or tag.startswith("W/") else tag
    if version:
        _version_file(part).write_text(version, "utf-8")
    else:
        _version_file(part).unlink(missing_ok=True)
