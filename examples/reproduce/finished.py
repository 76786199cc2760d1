"""The folder of the units that are finished."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fairseq_mos.documents import read_json
from fairseq_mos.paths import is_file
from fairseq_mos.tables import write_json
from reproduce.units import Job, Training, Unit


class Finished:
    """The units that are finished, a small file each, meant to be kept in git; and what failed.

    Args:
        folder: the results folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def _file(self, digest: str, kind: str = "units") -> Path:
        return self.folder / kind / f"{digest}.json"

    def read(self, digest: str) -> dict | None:
        """Returns a finished unit's result; None where it is not finished.

        Raises:
            UserError: a damaged file.
        """
        file = self._file(digest)
        return read_json(file, "finished unit")["result"] if is_file(file) else None

    def write(self, unit: Training | Unit, result: dict) -> None:
        """Keeps a result, in one step."""
        name = f"measurement of {unit.name}" if isinstance(unit, Job) else unit.name
        write_json(self._file(unit.digest), {"name": name, "unit": unit.spec, "result": result})

    def failures(self, digest: str) -> list[dict]:
        """Returns the failed attempts of a unit."""
        file = self._file(digest, "failures")
        return read_json(file, "failures")["failures"] if is_file(file) else []

    def write_failure(self, unit: Unit, code: int, message: str) -> None:
        """Counts a failed attempt of a unit."""
        failures = [*self.failures(unit.digest), {"exit_code": code, "message": message}]
        write_json(self._file(unit.digest, "failures"), {"name": unit.name, "failures": failures})


def missing(units: Iterable[Unit], finished: Finished) -> list[Unit]:
    """Returns the units without a result."""
    return [unit for unit in units if finished.read(unit.digest) is None]
