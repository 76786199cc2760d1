"""How the files of the package lie on each other: see docs/architecture.md."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import fairseq_mos

ROOT = Path(fairseq_mos.__file__).parent
FILES = {".".join(("fairseq_mos", *path.relative_to(ROOT).with_suffix("").parts)): path for path in ROOT.rglob("*.py")}

# Plain Python on the ground: a network reads the sizes of its layers there.
GROUND = {module for module in FILES if module.startswith("fairseq_mos.families.") and module.endswith(".schema")}


def _imports(module: str) -> set[str]:
    """Every import of a file, late ones and those for types too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in names]
        else:
            continue
        found |= {name if name in FILES else f"{name}.__init__" for name in names} & set(FILES)
    return found - {module, "fairseq_mos.__init__"}


def _room(module: str) -> str:
    parts = module.split(".")[1:-1]
    # A family is a room of its own; what all have in common is another, which knows none.
    return "/".join(parts) or module


def test_no_file_imports_itself_by_a_detour():
    order = TopologicalSorter({module: _imports(module) for module in FILES if module != "fairseq_mos.__init__"})
    assert set(order.static_order()) >= set(FILES) - {"fairseq_mos.__init__"}


def test_no_room_imports_itself_by_a_detour():
    rooms: dict[str, set[str]] = {}
    for module in FILES:
        for name in _imports(module) - GROUND:
            rooms.setdefault(_room(module), set()).update({_room(name)} - {_room(module)})
    assert "families/translation" in rooms
    list(TopologicalSorter(rooms).static_order())
