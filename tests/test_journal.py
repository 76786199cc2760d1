"""The log survives a kill and refuses what is not its own."""

from __future__ import annotations

import json
import os
import resource
from contextlib import contextmanager

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
    # What else the header says may have changed since.
    path.write_bytes(header[:-1])
    Journal(path, SIGNATURE, {"data": "moved"}).close()
    assert path.read_bytes() == header.replace(b"folder", b"moved")


@pytest.mark.parametrize("cut", [0, 5])
@pytest.mark.parametrize(("name", "value"), [("space", "other"), ("seed", 2), ("constraints", ())])
def test_the_log_of_another_search_is_refused_and_kept(path, name, value, cut):
    before = path.read_bytes()
    before = before[: len(before) - cut]
    path.write_bytes(before)
    with pytest.raises(UserError, match=f"its {name} is .*give another --output") as error:
        Journal(path, {**SIGNATURE, name: value})
    assert "\n" not in str(error.value) and path.read_bytes() == before


def refusal(path, signature, kind="search"):
    """Returns the message, and checks that the file is left as it is."""
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        Journal(path, signature, kind=kind)
    assert "\n" not in str(caught.value) and path.read_bytes() == before
    return str(caught.value)


def test_nested_fields_that_differ_are_named_with_both_values(path):
    path.unlink()
    settings = {"protocol": "hat", "device": "a processor with a long name" * 4, "threads": 1, "beam": 5}
    Journal(path, {"seed": 1, "settings": settings}).close()
    message = refusal(path, {"seed": 1, "settings": {**settings, "threads": 2}})
    assert "another search: its settings.threads is 1, now it is 2; give another" in message
    message = refusal(path, {"seed": 2, "settings": {**settings, "threads": 2}})
    assert "its seed is 1, now it is 2; its settings.threads is 1, now it is 2; give another" in message
    message = refusal(path, {"seed": 1})
    assert 'its settings.protocol is "hat", now it is null; ' in message and "; and 1 more differ; give" in message


def test_long_values_are_cut_to_where_they_differ(path):
    path.unlink()
    given = [f"{number:012}" for number in range(40)]
    Journal(path, {"given": given}).close()
    message = refusal(path, {"given": [*given[:-1], "other"]})
    assert '000000000039"], now it is ' in message and 'other"]; ' in message and len(message) < 400


def test_a_damaged_line_is_named(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(UserError, match="line 3 is damaged"):
        Journal(path, SIGNATURE)


@pytest.mark.parametrize(
    "content",
    [
        b'{"hello": 1}\n',
        b'{"hello": 1}\n{"cut": ',
        b"[1]\n",
        b"text without a final newline",
        b"\n",
        b'{"fairseq_mos_search": 1, "signature": {"space": "other"',
        b"PK\x03\x04\x00\xff\nweights\n\x80\x02 and more of them",
        b'{"fairseq_mos_latency_data_set": 1, "signature": {"space": "mini"}}\n{"cut": ',
    ],
)
def test_a_foreign_file_is_refused_and_kept(path, content):
    path.write_bytes(content)
    assert f"{path}: line 1 is no header of a search: give another --output" in refusal(path, SIGNATURE)


def test_two_searches_cannot_write_one_log(path):
    with Journal(path, SIGNATURE), pytest.raises(UserError, match="still runs"):
        Journal(path, SIGNATURE)
    Journal(path, SIGNATURE).close()


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Journal(tmp_path / "file" / "evaluations.jsonl", SIGNATURE)


def test_a_header_whose_signature_is_none_is_refused(path):
    path.write_text('{"fairseq_mos_search": 1, "signature": [1]}\n')
    assert "its signature is [1], now it is {" in refusal(path, SIGNATURE)


def test_a_place_whose_name_is_not_utf8(tmp_path):
    about = {"path": os.fsdecode(b"a\xff.pt"), "data": None}
    for rows in (0, 1):
        with Journal(tmp_path / "log.jsonl", {"seed": 1}, about) as journal:
            assert len(journal.rows) == rows
            journal.append({"index": rows})
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["path"] == "a\\udcff.pt"


@contextmanager
def files_of_at_most(size):
    """Lets the kernel refuse to write beyond a size, after it has written up to it: as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_what_was_written_before_stays(path):
    whole = path.read_bytes()
    with pytest.raises(UserError) as caught, files_of_at_most(len(whole) + 9), Journal(path, SIGNATURE) as log:
        log.append(ROWS[0])
    assert str(caught.value) == f"cannot write {path}: File too large"
    assert path.read_bytes()[: len(whole)] == whole and len(path.read_bytes()) == len(whole) + 9
    with Journal(path, SIGNATURE) as log:
        assert len(log.rows) == 3
        log.append(ROWS[0])
    assert path.read_bytes() == whole + whole.splitlines(keepends=True)[1]
    # Of a header that could not be written whole, too.
    path.unlink()
    with pytest.raises(UserError, match="cannot write .*: File too large"), files_of_at_most(9):
        Journal(path, SIGNATURE)
    Journal(path, SIGNATURE, {"data": "folder"}).close()
    assert path.read_bytes() == whole.splitlines(keepends=True)[0]
