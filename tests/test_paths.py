from __future__ import annotations

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
