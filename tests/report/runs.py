"""Small runs to report on, and what is true of every report."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

from fairseq_mos.cli import main
from tests.arch.samples import mini

INNER = '| INFO | train_inner | {"loss": "%s", "num_updates": "%s", "train_wall": "3"}'
VALID = '| INFO | valid | {"valid_loss": "%s", "valid_num_updates": "%s"}'
HEADER = {
    "signature": {"algorithm": "random", "objectives": ["loss"], "seed": 1, "split": "valid", "constraints": []},
    "path": "nowhere.pt",
    "data": "nowhere",
}
BEST = {
    "index": 0, "digest": "abc", "params": 100, "flops": 2e6, "loss": 4.5, "latency_ms": 9.5,
    "measured": [{"digest": "abc", "predicted": 9, "measured": 9.5, "low": 9.25, "high": 9.75, "holds": True}],
}  # fmt: skip
SCORE = {"score": 30.5, "low": 29.5, "high": 31.5, "signature": "nrefs:1", "p_value": 0.25}
SCORES = [
    {"system": "small", "test_set": "test", "scores": {"bleu": SCORE}, "signature": "weights:1",
     "costs": {"params": 100, "flops": 2e6, "latency_ms": 9.75}}
]  # fmt: skip
GOOD = {
    "search/evaluations.jsonl": [HEADER, BEST],
    "search/best.json": BEST,
    "scores/scores.json": SCORES,
}


def put(folder: Path, name: str, data) -> None:
    """Writes a file of a run; data as JSON."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, bytes):
        file.write_bytes(data)
    elif name.endswith("jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in data))
    else:
        file.write_text(data if isinstance(data, str) else json.dumps(data))


def whole(folder: Path) -> Path:
    """Writes a run with everything but a supernet."""
    architecture = mini().smallest().to_dict()
    for name, data in GOOD.items():
        put(folder, name, {**BEST, "architecture": architecture} if data is BEST else data)
    put(folder, "train-good.log", f"{INNER % (5, 100)}\n{VALID % (6, 100)}\n")
    return folder


def report(folder: Path, capsys, *arguments: str) -> tuple[int, str, str]:
    """Returns the exit code and what was printed."""
    code = main(["report", os.fspath(folder), *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def refused(folder: Path, capsys, *arguments: str) -> str:
    """Returns the one line with which a report is refused; nothing was written."""
    before = sorted(folder.rglob("*")) if os.path.isdir(folder) else []
    code, out, err = report(folder, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), out + err
    assert err.startswith("fairseq-mos: error: ") and err[:-1].isprintable() and len(err) < 2100
    assert (sorted(folder.rglob("*")) if os.path.isdir(folder) else []) == before
    return err


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to(path.with_name("nothing"))


def loop(path):
    path.symlink_to(path)


THINGS = {
    "folder": (folder, None),
    "link to a folder": (lambda path: path.symlink_to(path.parent), None),
    "dangling link": (dangling, "is a link to nothing"),
    "loop": (loop, "Too many levels"),
    "pipe": (os.mkfifo, "is no regular file"),
}


class _Page(HTMLParser):
    """Collects the ids of a page and its tags."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]


def check_page(output: Path) -> tuple[str, str]:
    """Checks that a page's ids are unique, and that its pictures are there and XML; returns HTML and Markdown."""
    page = output.with_name(f"{output.name}.html").read_text("utf-8")
    markdown = output.with_name(f"{output.name}.md").read_text("utf-8")
    found = _Page(page)
    assert len(found.ids) == len(set(found.ids)) and not {"b", "script", "img"} & set(found.tags)
    anchors = re.findall('<a href="#(.*?)">', page)
    assert set(anchors) <= set(found.ids) and len(anchors) == len(set(anchors)) == page.count("<h2>")
    pictures = re.findall(r"^!\[.*\]\((.*?)\)$", markdown, flags=re.MULTILINE)
    files = [os.fsencode(output.parent) + b"/" + unquote_to_bytes(name) for name in pictures]
    assert len(files) == len(set(files)) == page.count("<figure>")
    for file in files:
        ElementTree.parse(os.fsdecode(file))
    assert len(os.listdir(output.with_name(f"{output.name}-pictures"))) == len(files)
    for text in (page, markdown):
        assert not re.search("[\0-\x08\x0b-\x1f\x7f]", text)
    return page, markdown
