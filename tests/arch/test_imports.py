from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import fairseq_mos.arch
import fairseq_mos.families.translation.family

FILES = sorted(Path(fairseq_mos.arch.__file__).parent.glob("*.py"))
FAMILY = Path(fairseq_mos.families.translation.family.__file__)
FILES += [FAMILY.with_name(f"{name}.py") for name in ("family", "costs", "features", "schema")]
OWN = tuple(f"fairseq_mos.{name}" for name in ("arch", "documents", "errors", "families", "files"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_only_the_standard_library_and_yaml_are_imported(path):
    """What costs no model must not wait seconds for torch and fairseq."""
    names = []
    # What functions import is for when they are called.
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.append(node.module)
    for name in names:
        allowed = name.split(".")[0] in sys.stdlib_module_names or name == "yaml" or name.startswith(OWN)
        assert allowed, f"{path} imports {name}"
