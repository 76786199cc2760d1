"""What a report makes of bad files, names and places: one line, or the rest of the report and a note."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from fairseq_mos.cli import main
from fairseq_mos.report import content
from fairseq_mos.report.logs import LARGEST_LOG, read_log
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
    {"system": "small", "test_set": "test", "scores": {"bleu": SCORE}, "costs": {"params": 100, "flops": 2e6},
     "signature": "weights:1"}
]  # fmt: skip
RESULTS = {
    "title": "Results", "signature": {"seed": "1"}, "bleu_signature": "b", "chrf_signature": "c",
    "rows": [{"system": "small", "bleu": 1.5, "chrf": 2.5, "parameters": 100, "latency_ms": None}],
    "examples": [{"source": "a", "reference": "b", "translations": {"small": "c"}}],
}  # fmt: skip
GOOD = {
    "search/evaluations.jsonl": [HEADER, BEST],
    "search/best.json": BEST,
    "scores/scores.json": SCORES,
    "results.json": RESULTS,
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


def test_the_whole_run_is_good(tmp_path, capsys):
    code, out, err = report(whole(tmp_path), capsys)
    assert (code, err) == (0, "") and out.startswith("wrote ")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == ["Scores", "Search", "Training", "Example translations"]
    assert "30.50<br><small>[29.50, 31.50]" in page and "9.25 to 9.75 ms" in page and "1.50</td>" in page


CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)) * 10,
    "zeros": bytes(1000),
    "no JSON": b"some text",
    "cut": b'{"signature": {"algor',
    "NaN": b'{"signature": NaN}',
    "Infinity": b"[Infinity]",
    "1e999": b'[{"score": 1e999}]',
    "400 digits": b'{"seed": ' + b"1" * 400 + b"}",
    "10,000 digits": b"[" + b"9" * 10_000 + b"]",
    "deep": b'{"a":' * 100_000,
    "deep list": b"[" * 500 + b"]" * 500,
    "half a pair": b'{"\\ud800": ["\\udfff"]}',
    "no UTF-8": b'{"title": "\xff\xfe"}',
    "a key twice": b'{"rows": [], "rows": []}',
    "null": b"null",
    "a number": b"-0",
    "text": b'"x"',
    "true": b"true",
    "another kind": b'{"a": 1}',
    "a list of lists": b"[[[]]]",
    "a list of null": b"[null]",
}


@pytest.mark.parametrize("bad", CONTENTS)
@pytest.mark.parametrize("name", GOOD)
def test_a_file_of_something_else_is_named(tmp_path, capsys, name, bad):
    put(whole(tmp_path), name, CONTENTS[bad] + b"\n")
    assert name in refused(tmp_path, capsys)


FIELDS = [
    ("search/evaluations.jsonl", (0, "signature"), [None, [], "x", {}]),
    ("search/evaluations.jsonl", (0, "signature", "objectives"), [None, [], "loss", ["speed"], [1], [["loss"]]]),
    ("search/evaluations.jsonl", (0, "signature", "constraints"), [None, "x", [1], {}]),
    ("search/evaluations.jsonl", (0, "signature", "seed"), ["1", 1.5, True, None]),
    ("search/evaluations.jsonl", (0, "signature", "algorithm"), [1, None, []]),
    ("search/evaluations.jsonl", (0, "path"), [1, [], {}, True]),
    ("search/evaluations.jsonl", (0, "data"), [1, [], {}, True]),
    ("search/evaluations.jsonl", (1, "index"), ["0", -1, None, 1.5, 10**15, True]),
    ("search/evaluations.jsonl", (1, "loss"), ["low", [], {}, True, 1e300]),
    ("search/evaluations.jsonl", (1, "latency_ms"), ["low", [], {}, True, -1e200]),
    ("search/evaluations.jsonl", (1, "raced"), ["no", [], True]),
    ("search/best.json", ("architecture",), [None, [], "x", {}, {"encoder": 1}]),
    ("search/best.json", ("params",), [None, "many", [], 1e200, True]),
    ("search/best.json", ("flops",), [None, "many", [], 1e200]),
    ("search/best.json", ("loss",), [None, "low", []]),
    ("search/best.json", ("measured",), ["x", {}, [1], [{}], 5]),
    ("search/best.json", ("measured", 0, "low"), [None, "x", 1e200]),
    ("search/best.json", ("measured", 0, "holds"), [None, "x", 1]),
    ("scores/scores.json", (0, "test_set"), [None, 1, []]),
    ("scores/scores.json", (0, "system"), [None, 1, {}]),
    ("scores/scores.json", (0, "scores"), [None, 1, []]),
    ("scores/scores.json", (0, "scores", "bleu"), [None, 1, []]),
    ("scores/scores.json", (0, "scores", "bleu", "score"), [None, "x", True, 1e300]),
    ("scores/scores.json", (0, "scores", "bleu", "low"), ["x", True]),
    ("scores/scores.json", (0, "scores", "bleu", "signature"), [None, 1]),
    ("scores/scores.json", (0, "costs"), [None, 1, []]),
    ("scores/scores.json", (0, "costs", "params"), ["x", [], 1e300]),
    ("results.json", ("rows",), [None, {}, "x", [1]]),
    ("results.json", ("rows", 0, "bleu"), [None, "x", []]),
    ("results.json", ("rows", 0, "latency_ms"), ["x", []]),
    ("results.json", ("signature",), [None, "x", []]),
    ("results.json", ("title",), [None, 1, []]),
    ("results.json", ("examples",), [None, {}, [1]]),
    ("results.json", ("examples", 0, "translations"), [None, [], {"a": 1}]),
]


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [(name, place, value) for name, place, values in FIELDS for value in values],
)
def test_a_wrong_value_is_named(tmp_path, capsys, name, place, value):
    file = whole(tmp_path) / name
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    data = lines if name.endswith("jsonl") else lines[0]
    *outer, last = place
    holder = data
    for key in outer:
        holder = holder[key]
    holder[last] = value
    put(tmp_path, name, data)
    line = refused(tmp_path, capsys)
    field = next(part for part in reversed(place) if isinstance(part, str))
    # msgspec does not tell the keys of a mapping.
    named = "[...]" if field in ("bleu", "params") and "scores" in name else field
    assert f"{name}: " in line and named in line.split(f"{name}: ")[1]


@pytest.mark.parametrize("missing", ["low", "high", "p_value"])
def test_what_a_score_may_lack(tmp_path, capsys, missing):
    score = {name: value for name, value in SCORE.items() if name != missing}
    put(tmp_path, "scores.json", [{**SCORES[0], "scores": {"bleu": score, "$new|": score}}])
    assert report(tmp_path, capsys)[0] == 0
    assert "30.50" in (tmp_path / "report.html").read_text("utf-8")


def _folder(path):
    path.mkdir()


def _dangling(path):
    path.symlink_to(path.with_name("nothing"))


def _loop(path):
    path.symlink_to(path)


def _large(path):
    with open(path, "wb") as stream:
        stream.truncate(LARGEST_LOG + 1)


THINGS = {
    "folder": (_folder, None),
    "link to a folder": (lambda path: path.symlink_to(path.parent), None),
    "dangling link": (_dangling, "is a link to nothing"),
    "loop": (_loop, "Too many levels"),
    "pipe": (os.mkfifo, "is no regular file"),
}
LOGS = {
    **THINGS,
    "too large": (_large, "is larger than"),
    "empty": (lambda path: path.touch(), None),
    "binary": (lambda path: path.write_bytes(bytes(range(256)) * 4096), None),
    "zeros": (lambda path: path.write_bytes(bytes(10**6)), None),
    "one line": (lambda path: path.write_bytes(b'{"num_updates ' * 10**5), None),
    "one word": (lambda path: path.write_bytes(b"epoch 1: num_updates" + b"a" * 10**6), None),
    "another program's": (lambda path: path.write_text("loss 5 at epoch 7\n"), None),
}


@pytest.mark.parametrize("thing", LOGS)
def test_what_is_only_named_like_a_log(tmp_path, capsys, thing):
    make, note = LOGS[thing]
    make(tmp_path / "train-$bad.log")
    put(tmp_path, "train-good.log", INNER % (5, 100))
    code, out, err = report(tmp_path, capsys)
    assert (code, err) == (0, "")
    assert re.findall("<td>(.*?)</td>", (tmp_path / "report.html").read_text("utf-8"))[0] == "good"
    notes = [line for line in out.splitlines() if not line.startswith("wrote ")]
    assert len(notes) == (note is not None)
    if note:
        assert notes[0].startswith("left out: ") and "train-$bad.log" in notes[0] and note in notes[0]


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", GOOD)
def test_what_is_only_named_like_a_result(tmp_path, capsys, name, thing):
    make, note = THINGS[thing]
    (whole(tmp_path) / name).unlink()
    make(tmp_path / name)
    code, out, err = report(tmp_path, capsys)
    assert (code, err) == (0, "")
    # Without its winner, a search is one that still runs.
    expected = note is not None and name != "search/best.json"
    assert out.count("left out: ") == expected and (not expected or note in out)


@pytest.mark.parametrize("thing", [*THINGS, "missing", "too large", "empty"])
@pytest.mark.parametrize("flag", ["--scratch", "--retrained"])
def test_a_log_that_was_named_has_to_be_one(tmp_path, capsys, thing, flag):
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    good.write_text(f"{INNER % (5, 100)}\n{VALID % (6, 100)}\n")
    if thing != "missing":
        LOGS[thing][0](bad)
    files = {"--scratch": good, "--retrained": good, flag: bad}
    arguments = [text for name, file in files.items() for text in (name, str(file))]
    assert "bad.log" in refused(tmp_path, capsys, "--retrain", *arguments)


ENTRIES = [
    '{"loss": NaN, "num_updates": "7"}',
    '{"loss": "nan", "num_updates": "7"}',
    '{"loss": "inf", "num_updates": "7"}',
    '{"loss": 1e999, "num_updates": "7"}',
    '{"loss": 1e300, "num_updates": 7}',
    '{"loss": "5", "num_updates": "nan"}',
    '{"loss": "5", "num_updates": 1e999}',
    '{"loss": "5", "num_updates": "1e300"}',
    '{"loss": "5", "num_updates": -7}',
    '{"loss": "5", "num_updates": null}',
    '{"loss": [5], "num_updates": {"a": 7}}',
    '{"loss": "5", "loss": "6", "num_updates": 7}',
    '{"loss": "\\ud800", "num_updates": 7}',
    '{"loss": ' + "5" * 400 + ', "num_updates": 7}',
    '{"loss": 5, "num_updates": ' + "7" * 5000 + "}",
    '{"loss": 5, "num_updates": 7, "a": ' + "[" * 500 + "]" * 500 + "}",
    '{"a":' * 9000 + '"num_updates"}',
    '{"valid_loss": "nan", "valid_num_updates": 7}',
    '{"num_updates": 7}',
    "epoch 001: 1 / 2 loss=nan, num_updates=7",
    "epoch 001: 1 / 2 loss=1e999, num_updates=7",
    "epoch 001: 1 / 2 loss=5, num_updates=1e999",
    "epoch 001: 1 / 2 loss=5, num_updates=" + "7" * 5000,
    "epoch 001 | valid on 'valid' subset | loss inf | num_updates 7",
]


@pytest.mark.parametrize("entry", ENTRIES, ids=range(len(ENTRIES)))
def test_a_bad_entry_of_a_log_is_passed_over(tmp_path, entry):
    (tmp_path / "x.log").write_text("\n".join([INNER % (6, 5), VALID % (7, 5), entry, INNER % (4, 9)]))
    log = read_log(tmp_path / "x.log")
    assert (log.train, log.valid, log.updates) == ({5: 6.0, 9: 4.0}, {"": {5: 7.0}}, 9)


def test_the_losses_of_a_log_are_limited(tmp_path):
    losses = ", ".join(f'"valid_r{number}_loss": 1' for number in range(2000))
    (tmp_path / "x.log").write_text(f'{{"valid_loss": 2, {losses}, "valid_num_updates": 7}}\n')
    log = read_log(tmp_path / "x.log")
    assert len(log.valid) == 64 and log.valid[""] == {7: 2.0}


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
    put(root, "results.json", {**RESULTS, "title": texts, "signature": {texts: texts}})
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
            assert len(re.split(r"(?<!\\)\|", line)) in (6, 7, 9), line


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


def _unreadable(run):
    file = run / "train-hidden.log"
    file.write_text(INNER % (5, 100))
    file.chmod(0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(tmp_path, capsys):
    whole(tmp_path)
    _unreadable(tmp_path)
    (tmp_path / "closed").mkdir(mode=0)
    code, out, _ = report(tmp_path, capsys)
    assert code == 0 and out.count("left out: ") == 2 and out.count("Permission denied") == 2


@pytest.mark.parametrize("bad", [b"", b"\xff\xfe", b"one line\n"])
def test_translations_that_cannot_be_shown(tmp_path, capsys, bad):
    whole(tmp_path)
    put(tmp_path, "scores/translations/test.source.txt", "one\ntwo\n")
    put(tmp_path, "scores/translations/test.reference.txt", "eins\nzwei\n")
    put(tmp_path, "scores/translations/small.test.txt", bad)
    code, out, _ = report(tmp_path, capsys)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert code == 0 and "<dd>zwei</dd>" in page and "one line" not in page
    assert out.count("small.test.txt") == (bad != b"one line\n")


def test_places_that_another_machine_wrote_down(tmp_path, capsys):
    for number, place in enumerate(("n" * 300, "\0", "/dev/null", "/proc/1/mem/x")):
        rows = [{**HEADER, "path": place, "data": place}, BEST]
        whole(tmp_path / str(number))
        put(tmp_path, f"{number}/search/evaluations.jsonl", rows)
    assert report(tmp_path, capsys)[::2] == (0, "")


def test_an_architecture_of_another_size(tmp_path, capsys):
    side = {"embed_dim": 10**9, "layers": 2, "ffn_dims": [10**9, 1], "self_attention_heads": [10**9, 1]}
    data = {"qkv_dim": "embed", "encoder": side, "decoder": {**side, "cross_attention_heads": [1, 1],
            "arbitrary_attention": [-1, -1]}}  # fmt: skip
    put(whole(tmp_path), "search/best.json", {**BEST, "architecture": data})
    code, _, err = report(tmp_path, capsys)
    assert code == 0 or (code == 2 and err.count("\n") == 1 and "best.json" in err)


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
    _dangling(tmp_path / "dangling")
    _loop(tmp_path / "loop")
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


def test_no_reader_of_its_own():
    folder = Path(__file__).resolve().parents[2] / "fairseq_mos" / "report"
    own = re.compile(r"json\.loads?\(|rglob|\.(is_file|is_dir|exists)\(\)")
    assert not [file for file in folder.glob("*.py") if own.search(file.read_text("utf-8"))]
