"""`fairseq-mos user-dir`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes none."""


def run(args: argparse.Namespace) -> None:
    """Prints the package's folder: fairseq resolves --user-dir only against the working directory."""
    print(Path(__file__).resolve().parent.parent)
