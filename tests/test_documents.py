"""Reading JSON and YAML: whatever a file holds, the answer is plain data or one line, and comes quickly."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_mos import documents
from fairseq_mos.documents import convert, json_lines, parse_json, read_json, read_yaml, show
from fairseq_mos.errors import UserError, one_line

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghijk", "bcdefghijkl")
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}], {name}1: 1}}\n"
    for before, name in zip("abcdefghijk", "bcdefghijkl")
)
BAD_JSON = {
    "deep": "[" * 100_000,
    "deep but closed": "[" * 80 + "]" * 80,
    "infinite": "1e999",
    "inf": '{"a": Infinity}',
    "nan": '{"a": [NaN]}',
    "digits": "9" * 400,
    "many digits": "9" * 5000,
    "surrogate": '"\\ud800"',
    "surrogate key": '{"\\udc00": 1}',
    "twice": '{"a": 1, "a": 2}',
    "cut": '{"a": ',
    "nothing": "",
    "control": '"\x01"',
}
BAD_YAML = {
    "bomb": BOMB,
    "merges": MERGES,
    "deep": "[" * 20_000,
    "deep blocks": "".join("  " * i + "a:\n" for i in range(90)),
    "itself": "a: &a [*a]",
    "infinite": "a: .inf",
    "nan": "a: .nan",
    "digits": "a: " + "9" * 400,
    "many digits": "a: " + "9" * 6000,
    "twice": "a: 1\na: 2",
    "tag": "a: !!python/object/apply:os.system [true]",
    "date": "a: 2024-99-99",
    "open": "a: [1",
    "two documents": "a: 1\n---\nb: 2",
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_named(text):
    with pytest.raises(UserError) as caught:
        parse_json(text, "FILE")
    assert str(caught.value).startswith("FILE: ") and len(str(caught.value)) < 300
    assert one_line(caught.value) == str(caught.value)


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML)
def test_bad_yaml_is_named(tmp_path, text):
    file = tmp_path / "FILE"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(file, "search space")
    assert str(file) in str(caught.value) and len(str(caught.value)) < 300 + len(str(file))
    assert one_line(caught.value) == str(caught.value)


def test_aliases_and_merges_of_a_sensible_size_are_read(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a: &a {x: 1}\nb: {<<: *a, y: [2, *a]}\n")
    assert read_yaml(file, "space") == {"a": {"x": 1}, "b": {"x": 1, "y": [2, {"x": 1}]}}


@dataclass
class _Row:
    name: str
    values: list[float]


def test_a_kind_is_checked_field_by_field(tmp_path):
    file = tmp_path / "x.json"
    file.write_text('{"name": "a", "values": [1, 2.5]}')
    assert read_json(file, "row", _Row) == _Row("a", [1.0, 2.5])
    with pytest.raises(UserError, match=r"x.json: values\[1\]: expected float, got str; measure anew"):
        convert({"name": "a", "values": [1, "b"]}, _Row, "x.json", "measure anew")
    with pytest.raises(UserError, match="x.json: .*missing required field.*values"):
        convert({"name": "a"}, _Row, "x.json")
    with pytest.raises(UserError, match="x.json: expected object, got array"):
        convert([], dict, "x.json")


def test_lines(tmp_path):
    assert json_lines(b'{"a": 1}\n{"b": 2}\n{"c"', "x") == [{"a": 1}, {"b": 2}]
    assert json_lines(b'{"a"', "x") == []
    for bad, reason in ((b"{}\n\n", ""), (b"{}\n[]\n", ""), (b'{}\n{"a": 1e999}\n', "too large a number")):
        with pytest.raises(UserError, match=f"x: line 2 is damaged, expected a JSON object.*{reason}"):
            json_lines(bad, "x")


def test_files_that_cannot_be_read(tmp_path):
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
        (tmp_path / ("n" * 300), "name too long"),
        (f"{tmp_path}/a\0b", "null"),
    ):
        for read in (read_json, read_yaml):
            with pytest.raises(UserError, match=reason):
                read(path, "predictor")
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8|not a UTF-8"):
        read_json(tmp_path / "latin", "predictor")
    with pytest.raises(UserError, match="larger than 3 bytes"):
        documents.read_text(__file__, "text", limit=3)


def test_whatever_a_message_quotes_it_is_one_short_line():
    assert show(10**5000) == "a int too large to show"
    deep = []
    deep.append(deep)
    assert show(deep) == "[[...]]"
    assert one_line("a\nb\tc\x00\ud800\x1b[31m") == "a b c\\x00\\ud800\\x1b[31m"
    assert len(one_line("x" * 10_000)) == 2000


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e300, 1e300) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(_PLAIN)
def test_what_json_can_say_comes_back(data):
    assert parse_json(json.dumps(data), "x") == data


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789eE+-.naninfINF&*<!|>\n ', max_size=40))
def test_noise_is_data_or_one_line(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("noise") / "x"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (read_json, read_yaml):
        try:
            read(file, "data")
        except UserError as error:
            assert one_line(error) == str(error)
