from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairseq_mos import paths
from fairseq_mos.errors import UserError


def test_answers(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    assert paths.is_file(tmp_path / "file") and not paths.is_folder(tmp_path / "file")
    assert paths.is_folder(tmp_path) and not paths.is_file(tmp_path)
    for absent in ("none", "dangling", "file/below"):
        assert not paths.exists(tmp_path / absent) and not paths.is_file(tmp_path / absent)
    assert [p.name for p in paths.listing(tmp_path)] == ["dangling", "file"]
    assert paths.found_below(tmp_path / "none", "*") == []
    assert [p.name for p in paths.found_below(tmp_path, "f*")] == ["file"]


@pytest.mark.parametrize("question", [paths.is_file, paths.is_folder, paths.exists, paths.listing])
@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "loop"])
def test_what_the_system_refuses_is_one_line(tmp_path, question, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="cannot read .*: (File name too long|.*null|Too many levels)") as caught:
        question(f"{tmp_path}/{name}")
    assert len(str(caught.value)) < 250 and str(caught.value).isprintable()


def test_nothing_in_the_package_asks_pathlib():
    """Its questions raise for long names, loops and folders that may not be entered."""
    package = Path(paths.__file__).parent
    asking = re.compile(r"\.(is_file|is_dir|exists|iterdir|glob|rglob)\(|os\.path\.(exists|isfile|isdir)\(")
    # The package's own folder; a script that runs in another environment; a zip's members; folders of any depth.
    allowed = {"arch/shipped.py", "metrics/neural_script.py", "archives.py", "report/discover.py"}
    allowed |= {"files.py", "paths.py", "documents.py"}
    found = {str(file.relative_to(package)) for file in package.rglob("*.py") if asking.search(file.read_text("utf-8"))}
    # compat asks as fairseq does, of folders that fairseq reads next.
    assert {name for name in found - allowed if not name.startswith("compat/")} == set()
