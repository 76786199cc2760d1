"""The version of the package, read by ``setup.py`` too: keep this file free of imports that cost."""

from __future__ import annotations

__version__ = "0.1.0"
