"""The exporters' fixtures."""

from tests.export.conftest import exportable, short, small  # noqa: F401
