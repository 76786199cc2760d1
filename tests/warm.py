"""A process that has imported torch and fairseq, and forks for each command: a test need not wait for the imports.

A command runs as in a new interpreter, from `__main__` to exit, with its own folder, variables and output; only what
it imports may be there already. Variables that an interpreter or a library reads once, when it starts, have to be
the same: :meth:`Warm.serves`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_ONCE = ("PYTHON", "OMP_", "MKL_", "KMP_", "LD_", "MALLOC_", "LOGLEVEL", "TORCH")


class Warm:
    """The process, and the way to it.

    Args:
        environment: its variables.
    """

    def __init__(self, environment: Mapping[str, str]):
        self._environment = _read_once(environment)
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())]
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
            # It ends when the socket does, with this process.
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], **quiet)
        self._socket, self._answers = ours, ours.makefile("r")

    def serves(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a command is a script or module of Python that would find what it expects."""
        program, *arguments = command
        script = bool(arguments) and (arguments[0] == "-m" or arguments[0].endswith(".py"))
        return program == sys.executable and script and _read_once(environment) == self._environment

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess:
        """Is `subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, ...)`."""
        with self._lock, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = {"arguments": list(command[1:]), "folder": str(folder), "environment": dict(environment)}
            sent = (json.dumps(request) + "\n").encode()
            self._socket.sendall(sent)
            socket.send_fds(self._socket, [b"f"], [out.fileno(), err.fileno()])
            child = int(self._answers.readline())
            try:
                code = self._code(child, timeout)
            finally:
                texts = []
                for stream in (out, err):
                    stream.seek(0)
                    texts.append(stream.read().decode())
            if code is None:
                raise subprocess.TimeoutExpired(command, timeout, *texts)
        return subprocess.CompletedProcess(command, code, *texts)

    def _code(self, child: int, timeout: float) -> int | None:
        alarm = threading.Timer(timeout, os.kill, (child, 9))
        alarm.start()
        try:
            code = int(self._answers.readline())
        finally:
            late = not alarm.is_alive()
            alarm.cancel()
        return None if late else code


def _read_once(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_ONCE)}


def serve(control: socket.socket) -> None:
    """Forks for each request; returns in no parent before the socket is closed."""
    # Not the commands themselves: the first one that is imported sets the format of all messages. Some of fairseq's
    # models do so too, but a command comes before them.
    for name in ("fairseq.options", "fairseq.trainer", "fairseq.logging.progress_bar", "fairseq.sequence_generator"):
        importlib.import_module(name)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)

    buffer = b""
    while True:
        while b"\n" not in buffer:
            received = control.recv(1)
            if not received:
                return
            buffer += received
        request, buffer = json.loads(buffer), b""
        _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        child = os.fork()
        if child == 0:
            control.close()
            _begin(request, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        control.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _begin(request: dict, descriptors: Sequence[int]) -> None:
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *arguments = request["arguments"]
    if first == "-m":
        name, *arguments = arguments
        sys.argv, sys.path[0] = [name, *arguments], os.getcwd()
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *arguments], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
