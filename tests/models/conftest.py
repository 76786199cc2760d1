"""The exporters' small supernet."""

from tests.export.conftest import small  # noqa: F401
