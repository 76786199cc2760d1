"""Names that are hard to write, in every file of an evaluation; and those that cannot be written."""

from __future__ import annotations

import csv

import pytest

from fairseq_mos.documents import read_json
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.metrics.scores import Score
from fairseq_mos.metrics.systems import check_names, translation_file
from fairseq_mos.metrics.tables import Row, as_text, write_tables
from fairseq_mos.metrics.testsets import TestSet
from fairseq_mos.tables import write_csv

NAMES = [
    *("a|b", "`x``", "*b* _c_", "-1", "<i>&amp;", 'q",;"', "$x^2$ ~y~", "\u00fcber\u4e2d\u6587", "[l](http://x)"),
    *("\\", "# h"),
]  # fmt: skip
SETS = ["t|u", "*set*"]


def _shown(line: str, cut: str) -> list[str]:
    """The parts of a line of Markdown between `cut`s, as they are shown."""
    parts, characters = [""], iter(line)
    for character in characters:
        if character == "\\":
            parts[-1] += next(characters)
        elif character == cut:
            parts.append("")
        else:
            assert character not in "*`<>[]_$~", "it would not be shown"
            parts[-1] += character
    return [part.strip() for part in parts]


def test_names_in_all_files(tmp_path):
    score = {"comet": Score("comet", 0.5, None, None, "model:m`|`x|comet:2")}
    rows = [Row(name, test_set, score, {"params": 7.0}) for test_set in SETS for name in NAMES]
    expected = [(row.system, row.test_set) for row in rows]
    files = {file.suffix: file for file in write_tables(rows, tmp_path)}
    assert [(row["system"], row["test_set"]) for row in read_json(files[".json"], "scores", list)] == expected
    with open(files[".csv"], encoding="utf-8", newline="") as stream:
        assert [(row["system"], row["test_set"]) for row in csv.DictReader(stream)] == expected
    lines = files[".md"].read_text("utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    assert [_shown(line[3:], "\0") for line in headings] == [[name] for name in SETS]
    tables = [line for line in lines if line.startswith("| ") and not line.startswith("| system")]
    cells = [_shown(line, "|") for line in tables]
    assert [row[1] for row in cells] == NAMES * 2 and {len(row) for row in cells} == {7}
    assert "- ``COMET: model:m`|`x|comet:2``" in lines
    assert all(name in as_text(rows) for name in NAMES)


def test_a_line_of_csv_is_one_line(tmp_path):
    rows = [{"model": "a\rb\nc\x0bd\u2028e", "n": 1}, {"model": "\udcff  x", "more": 2.5}, {"n": 3}]
    write_csv(tmp_path / "x.csv", rows)
    text = (tmp_path / "x.csv").read_text("utf-8")
    assert text.splitlines() == ["model,n,more", "a\\rb\\nc\\x0bd\\u2028e,1,", "\\udcff  x,,2.5", ",3,"]
    signature = write_tables([Row("a", "b", {}, signature="x\ry")], tmp_path)[1].read_text("utf-8").splitlines()[1]
    assert signature == "a,b,x\\ry"


def test_names_that_need_no_escape_stay_as_they_are(tmp_path):
    write_tables([Row("super:checkpoint_best", "wmt14", {}, {})], tmp_path)
    assert "| super:checkpoint_best | - |" in (tmp_path / "scores.md").read_text()


LONG = "n" * 120


@pytest.mark.parametrize(
    ("systems", "sets", "message"),
    [
        (["a\nb"], ["x"], "the name 'a\\nb' cannot be printed"),
        (["a"], ["x\x1b[2J"], "the name 'x\\x1b[2J' cannot be printed"),
        (["\udcff"], ["x"], "the name '\\udcff' cannot be printed"),
        (["a\u2028"], ["x"], "the name 'a\\u2028' cannot be printed"),
        (["\u202e"], ["x"], "the name '\\u202e' cannot be printed"),
        ([LONG], [LONG, LONG + "n" * 10], "allowed: 255; give shorter names"),
        (["\u4e2d" * 84], ["x"], "a name of 259 bytes, allowed: 255"),
        (["a b", "a+b"], ["x"], "a b on x and a+b on x would both be written to a-b.x.txt"),
        (["test"], ["test", "source"], "the source of test and test on source would both be written to test.source"),
        (["a"], ["x y", "x.y"], None),
        ([LONG], [LONG], None),
        (["a/b", "-c", "|"], ["x"], None),
    ],
)
def test_names_are_checked(tmp_path, systems, sets, message):
    test_sets = [TestSet(name, ["a"], [["b"]]) for name in sets]
    if message is None:
        check_names(systems, test_sets)
        for system in systems:
            file = translation_file(tmp_path, system, sets[0])
            file.with_suffix(".json").touch()
            assert file.parent == tmp_path
        return
    with pytest.raises(UserError) as raised:
        check_names(systems, test_sets)
    assert message in str(raised.value) and one_line(raised.value) == str(raised.value)
