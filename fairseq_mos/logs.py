"""What our own command lets through to the terminal."""

from __future__ import annotations

import logging
import sys


def configure_logging() -> None:
    """Shows warnings alone, and names that are not UTF-8 with what they hold escaped.

    Importing fairseq's tasks configures the root logger for the debug messages of every library, unless somebody
    has configured it before. So call this before that import.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
