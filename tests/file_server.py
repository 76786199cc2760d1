"""A server of files on this machine, which behaves as badly as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 40


class FileServer(ThreadingHTTPServer):
    """Serves `files`.

    Attributes:
        files: path to content.
        asked: the Range header of every request.
        ranges: whether parts are served.
        shift: bytes after the place asked for at which a part begins.
        cut_at: bytes after which the next answers end.
        chunked: whether an answer has no length, and ends within a chunk.
        headers: sent with every answer, instead of its own.
        location: where every request is sent on to, or None.
        silent_after: bytes after which the server says nothing until `awake` is set, or None.
        pause: called before the content is sent.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked, self.headers, self.cut_at = {"/file.bin": CONTENT}, [], {}, []
        self.ranges, self.chunked, self.shift, self.location, self.silent_after = True, False, 0, None, None
        self.awake, self.pause = threading.Event(), lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.location is not None:
            return self._answer(302, {"Location": server.location})
        if self.path not in server.files:
            return self.send_error(404, "Not Found")
        content, begin = server.files[self.path], 0
        if server.ranges and asked and self.headers.get("If-Range") in (None, server.headers.get("ETag")):
            begin = int(asked.removeprefix("bytes=").removesuffix("-")) + server.shift
            if begin >= len(content):
                return self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
        if server.chunked:
            # A chunk of 4096 bytes of which half comes; no length that would tell.
            self.protocol_version = "HTTP/1.1"
            self._answer(200, {"Transfer-Encoding": "chunked"}, b"1000\r\n" + content[:2048])
            self.close_connection = True
            return None
        end = server.cut_at.pop(0) if server.cut_at else len(content)
        headers = {"Content-Length": str(len(content) - begin)}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        server.pause()
        self._answer(206 if begin else 200, {**headers, **server.headers}, content[begin:end])
        return None

    def _answer(self, code, headers, content=b""):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.silent_after is not None:
            self.wfile.write(content[: self.server.silent_after])
            self.server.awake.wait(30)
        else:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextmanager
def serve() -> Iterator[FileServer]:
    """Runs a server."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.awake.set()
        server.shutdown()
        thread.join()
        server.server_close()
