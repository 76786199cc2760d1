"""Runs a command that ends with the process that started it, even when that one is killed.

    python attached.py (-m MODULE | FILE.py) ARGUMENTS...

Its standard input is a pipe that only its parent can write to: the pipe ends when the parent does. Without this, a
training whose pipeline was killed would go on, beside the one that the same command starts again.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def main(words: list[str]) -> None:
    """Runs the command in this process."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    # As python itself would: this file's own folder is nobody else's business.
    if words[0] == "-m":
        sys.path[0], sys.argv = os.getcwd(), words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = os.path.dirname(os.path.abspath(words[0])), words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
