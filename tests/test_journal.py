"""The log survives a kill and refuses what is not its own."""

from __future__ import annotations

import json

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.journal import Journal

SIGNATURE = {"space": "mini", "seed": 1, "constraints": ("params<=3",)}
ROWS = [{"index": 0, "loss": 0.1 + 0.2}, {"index": 1, "loss": 1e-17}, {"index": 2, "loss": float("nan")}]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "new" / "evaluations.jsonl"
    with Journal(path, SIGNATURE, {"data": "folder"}) as log:
        for row in ROWS:
            log.append(row)
    return path


def test_lines_are_a_header_and_the_rows(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    signature = {"space": "mini", "seed": 1, "constraints": ["params<=3"]}
    assert lines[0] == {"fairseq_mos_search": 1, "signature": signature, "data": "folder"}
    assert lines[1:] == [ROWS[0], ROWS[1], {"index": 2, "loss": None}]


def test_values_come_back_exactly(path):
    with Journal(path, SIGNATURE) as log:
        assert [row["loss"] for row in log.rows] == [0.1 + 0.2, 1e-17, None]


def test_a_row_cut_short_anywhere_is_dropped_and_written_again(path):
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path, SIGNATURE) as log:
            assert len(log.rows) == 2
            log.append(ROWS[2])
        assert path.read_bytes() == whole


def test_a_header_cut_short_is_a_new_log(path):
    whole = path.read_bytes()
    header = whole[: whole.find(b"\n") + 1]
    for content in (b"", header[:10], header[:-1]):
        path.write_bytes(content)
        with Journal(path, SIGNATURE, {"data": "folder"}) as log:
            assert log.rows == []
        assert path.read_bytes() == header


@pytest.mark.parametrize(("name", "value"), [("space", "other"), ("seed", 2), ("constraints", ())])
def test_the_log_of_another_search_is_refused_and_kept(path, name, value):
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"its {name} is .*give another --output") as error:
        Journal(path, {**SIGNATURE, name: value})
    assert "\n" not in str(error.value) and path.read_bytes() == before


def test_a_damaged_line_is_named(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(UserError, match="line 3 is damaged"):
        Journal(path, SIGNATURE)


def test_a_foreign_file_is_refused(path):
    path.write_text('{"hello": 1}\n')
    with pytest.raises(UserError, match="no header"):
        Journal(path, SIGNATURE)


def test_two_searches_cannot_write_one_log(path):
    with Journal(path, SIGNATURE), pytest.raises(UserError, match="still runs"):
        Journal(path, SIGNATURE)
    Journal(path, SIGNATURE).close()


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Journal(tmp_path / "file" / "evaluations.jsonl", SIGNATURE)
