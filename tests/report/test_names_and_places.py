"""Reports on runs of any name, in any place, of any size."""

from __future__ import annotations

import os
import re

import pytest

from fairseq_mos.report import content
from tests.arch.samples import mini
from tests.report.runs import (
    BEST,
    HEADER,
    INNER,
    SCORES,
    VALID,
    check_page,
    dangling,
    loop,
    put,
    refused,
    report,
    whole,
)

NAMES = {
    "dollar": "a$x^{_$",
    "markup": "a|b*c*_d_`e`<b>[g](h)&amp;",
    "quotes": "a'b\"c,d;e",
    "newline": "a\nb\r\n# c",
    "control": "a\x01\x1b[31m\x7fb",
    "no UTF-8": os.fsdecode(b"a\xff\xfeb"),
    "underscore": "_a",
    "long": "n" * 240,
    "long in bytes": "文" * 75,
    "right to left": "a\u202eb",
    "path": "../..",
    "percent": "a%2Fb c?d#e",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_anywhere(tmp_path, capsys, name):
    text = NAMES[name]
    legal = text.replace("/", "-")
    root = tmp_path / legal
    whole(root)
    (root / "search").rename(root / legal)
    for role in ("scratch", "retrain"):
        losses = {"scratch": 5, "retrain": 4}[role]
        put(root, f"{legal[:200].encode()[:200].decode(errors='ignore') if 'long' in name else legal}-{role}.log",
            f"$ cmd '{legal!a}' ``` {text!a}\n{INNER % (5, 100)}\n{VALID % (losses, 100)}\n")  # fmt: skip
    texts = text.encode("utf-8", "replace").decode()
    put(root, "scores/scores.json", [{**SCORES[0], "system": texts, "test_set": texts, "signature": texts}])
    output = tmp_path / f"{legal[:70]}.html"
    code, out, err = report(root, capsys, "--output", os.fspath(output), "--title", text)
    assert (code, err) == (0, "") and out.count("\n") == 1 and out.startswith("wrote ")
    page, markdown = check_page(output.with_suffix(""))
    assert "Retraining" in page and "Search: " in page
    if name == "markup":
        assert "<h1>a|b*c*_d_`e`&lt;b&gt;[g](h)&amp;amp;</h1>" in page
        assert markdown.startswith("# a\\|b\\*c\\*\\_d\\_\\`e\\`&lt;b>\\[g\\](h)&amp;amp;\n")
    if name == "newline":
        assert markdown.startswith("# a<br>b\\\\r<br># c\n")
    if name == "no UTF-8":
        assert markdown.startswith("# a\\\\udcff\\\\udcfeb\n")
    for line in markdown.split("\n"):
        if line.startswith("|") and not line.startswith("|---"):
            assert len(re.split(r"(?<!\\)\|", line)) in (6, 7, 8), line


def test_searches_of_one_name(tmp_path, capsys):
    for place in ("a/search", "b/search", "b/c", "b/c/search"):
        put(tmp_path, f"{place}/evaluations.jsonl", [HEADER, BEST])
        put(tmp_path, f"{place}/best.json", {**BEST, "architecture": mini().smallest().to_dict()})
    assert report(tmp_path, capsys)[0] == 0
    page, _ = check_page(tmp_path / "report")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == ["Search: a/search", "Search: c", "Search: b/c/search", "Search: b/search"]


def test_logs_of_one_name(tmp_path, capsys):
    names = ["train-x.log", "x.log", "x.log.log", "a/x.log", "a/train-x.log", "x/train.log", "train-X.log"]
    for number, name in enumerate(names, 1):
        put(tmp_path, name, INNER % (number, 100 * number))
    assert report(tmp_path, capsys)[0] == 0
    page, _ = check_page(tmp_path / "report")
    updates = re.findall(r"<tr><td>(.*?)</td><td>(\d+)</td>", page)
    assert len({name for name, _ in updates}) == 7 and sorted(int(u) for _, u in updates) == list(range(100, 701, 100))


def test_a_second_page_of_one_process_is_the_same(tmp_path, capsys):
    pages = []
    for name in ("one", "two"):
        assert report(whole(tmp_path / "run"), capsys, "--output", str(tmp_path / f"{name}.html"))[0] == 0
        pages.append((tmp_path / f"{name}.html").read_text("utf-8"))
    assert pages[0] == pages[1] and "<figure>" in pages[0]


PLACES = [
    ("nowhere", (), "nowhere is no folder"),
    ("file", (), "file is no folder"),
    ("dangling", (), "dangling is no folder"),
    ("loop", (), "Too many levels"),
    ("n" * 300, (), "File name too long"),
    ("a\nb\udcff", (), "a b\\udcff is no folder"),
    ("run", ("--output", "{}/file/x.html"), "file is a file, expected a folder"),
    ("run", ("--output", "{}/taken.html"), "taken.html: it is a folder"),
    ("run", ("--output", "{}/text.html"), "text.md: it is a folder"),
    ("run", ("--output", "{}/drawn.html"), "drawn-pictures: it is a file"),
    ("run", ("--output", "{}/kept.html"), "holds notes.txt"),
    ("run", ("--output", "{}/" + "n" * 300 + ".html"), "File name too long"),
    ("run", ("--output", "{}/" + "n" * 250 + ".html"), "File name too long"),
    ("run", ("--output", "/proc/x/x.html"), "cannot write /proc"),
    ("run", ("--retrain", "--output", "/proc/x/x.json"), "cannot write /proc"),
    ("run", ("--retrain", "--output", "{}/file/x.json"), "file is a file, expected a folder"),
    ("run", ("--supernet", "n" * 300), "File name too long"),
    ("run", ("--supernet", "{}/fifo"), "fifo does not exist"),
    ("run", ("--supernet", "{}"), "does not exist"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), PLACES, ids=range(len(PLACES)))
def test_a_place_that_cannot_be_used(tmp_path, capsys, name, arguments, message):
    for name_of_log in ("scratch", "retrain"):
        put(tmp_path, f"run/{name_of_log}.log", f"{INNER % (5, 100)}\n{VALID % (6, 100)}\n")
    for folder in ("taken.html", "text.md", "kept-pictures"):
        (tmp_path / folder).mkdir()
    for file in ("file", "drawn-pictures", "kept-pictures/notes.txt"):
        (tmp_path / file).write_text("mine")
    dangling(tmp_path / "dangling")
    loop(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    before = sorted(tmp_path.rglob("*"))
    arguments = [argument.format(tmp_path) for argument in arguments]
    assert message in refused(tmp_path / name, capsys, *arguments)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "kept-pictures/notes.txt").read_text() == "mine"


def test_a_folder_with_everything_in_it(tmp_path, capsys):
    """Thousands of files, links in circles, and folders in folders."""
    put(tmp_path, "train-good.log", INNER % (5, 100))
    for number in range(3000):
        (tmp_path / f"x{number}.log").write_text("nothing\n")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "circle.log").symlink_to(tmp_path)
    deep = tmp_path
    for _ in range(1300):
        deep = deep / "d"
        deep.mkdir()
    put(deep, "train-deep.log", INNER % (5, 200))
    try:
        code, out, err = report(tmp_path, capsys)
        page = (tmp_path / "report.html").read_text("utf-8")
    finally:
        (deep / "train-deep.log").unlink()
        while deep != tmp_path:
            deep.rmdir()
            deep = deep.parent
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert re.findall(r"<tr><td>(.*?)</td>", page) == ["deep", "good"]


def test_trainings_and_commands_beyond_any_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(content, "_CURVES", 2)
    monkeypatch.setattr(content, "_COMMANDS", 3)
    for number in range(4):
        put(tmp_path, f"train-{number}.log", f"$ command {number} a\n$ command {number} b\n{INNER % (5, 100)}")
    assert report(tmp_path, capsys)[0] == 0
    page, _ = check_page(tmp_path / "report")
    assert page.count("<figure>") == 2 and "first 2 of 4" in page and "first 3 of 8" in page


def test_what_an_interrupted_report_left_is_cleared(tmp_path, capsys):
    put(tmp_path, "train-good.log", INNER % (5, 100))
    pictures = tmp_path / "report-pictures"
    pictures.mkdir()
    left = [tmp_path / ".report.html.abcd1234.tmp", tmp_path / ".report.md.abcd1234.tmp",
            pictures / ".old-front.svg.abcd1234.tmp", pictures / "old-front.svg"]  # fmt: skip
    for file in left:
        file.write_text("half")
    stage = tmp_path / ".report-pictures.abcd1234.tmp"
    (stage / "new").mkdir(parents=True)
    assert report(tmp_path, capsys)[0] == 0
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "report-pictures", "report.html", "report.md", "train-good.log",
    ]  # fmt: skip
    assert [f.name for f in pictures.iterdir()] == ["training-good.svg"]
