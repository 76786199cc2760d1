"""The one writer of tables and JSON."""

from __future__ import annotations

import math

from fairseq_mos import tables

GRID = [["system", "BLEU"], ["a longer name", "1.5"], ["b", "20.25"]]


def test_text_and_markdown():
    assert tables.text_lines(GRID) == ["system          BLEU", "a longer name    1.5", "b              20.25"]
    assert tables.markdown_lines(GRID)[:3] == ["| system | BLEU |", "|---|---:|", "| a longer name | 1.5 |"]


def test_csv_has_every_column_that_a_row_has(tmp_path):
    rows = [{"a": 1, "b": None}, {"a": "x,y", "c": 2.5}]
    assert tables.csv_text(rows) == 'a,b,c\n1,,\n"x,y",,2.5\n'
    tables.write_csv(tmp_path / "t.csv", rows, ["c", "a"])
    assert (tmp_path / "t.csv").read_text() == 'c,a\n,1\n2.5,"x,y"\n'


def test_json_has_null_for_what_is_no_number(tmp_path):
    tables.write_json(tmp_path / "t.json", {"a": math.nan, "b": [1]})
    assert (tmp_path / "t.json").read_text() == '{\n  "a": null,\n  "b": [\n    1\n  ]\n}\n'


def test_signature_in_one_line():
    assert tables.signature_line({"a": [1, 2], "b": [], "c": {"d": 3}, "e": "x"}) == "a:1,2|b:none|c:d=3|e:x"
