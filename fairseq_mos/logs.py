"""What our own command lets through to the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def configure_logging() -> None:
    """Shows warnings alone, and names that are not UTF-8 with what they hold escaped.

    Importing fairseq's tasks configures the root logger for the debug messages of every library, unless somebody
    has configured it before. So call this before that import.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Hides what compiled libraries write to standard error: torch, traces of its C++ code while it only waits."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
