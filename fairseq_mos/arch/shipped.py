"""The search spaces and architectures that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def configs_folder() -> Path:
    """Returns the folder of shipped configurations: inside an installed package, beside it in a checkout."""
    inside = _PACKAGE / "configs"
    return inside if (inside / "spaces").is_dir() else _PACKAGE.parent / "configs"


def shipped_files(kind: str) -> dict[str, Path]:
    """Returns name -> path of the shipped YAML files, sorted by name.

    Args:
        kind: "spaces" or "archs". A file in a folder below has a name such as `hat/NAME`.
    """
    folder = configs_folder() / kind
    # Names hold dots (57.1ms): cut the ending only.
    return {
        path.relative_to(folder).as_posix()[: -len(".yaml")]: path for path in sorted(folder.rglob("*.yaml"))
    }


def shipped_spaces() -> tuple[str, ...]:
    """Returns the names of the shipped search spaces."""
    return tuple(shipped_files("spaces"))


def shipped_architectures() -> tuple[str, ...]:
    """Returns the names of the shipped architectures, such as `hat/NAME`."""
    return tuple(shipped_files("archs"))


def shipped_file(kind: str, name: str) -> Path | None:
    """Returns the path of the shipped file of that exact name, or None if there is none."""
    return shipped_files(kind).get(name)
