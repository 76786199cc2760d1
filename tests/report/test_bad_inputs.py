"""What a report makes of bad files: one line, or the rest of the report and a note."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from fairseq_mos.report.logs import LARGEST_LOG, read_log
from tests.report.runs import BEST, GOOD, HEADER, INNER, SCORE, SCORES, THINGS, VALID, put, refused, report, whole


def test_the_whole_run_is_good(tmp_path, capsys):
    code, out, err = report(whole(tmp_path), capsys)
    assert (code, err) == (0, "") and out.startswith("wrote ")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == ["Scores", "Search", "Training"]
    assert "30.50<br><small>[29.50, 31.50]" in page and "9.25 to 9.75 ms" in page and "9.8 ms</td>" in page


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
    ("scores/scores.json", (0, "costs", "latency_ms"), ["x", [], 1e300]),
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
    named = "[...]" if field in ("bleu", "params", "latency_ms") and "scores" in name else field
    assert f"{name}: " in line and named in line.split(f"{name}: ")[1]


@pytest.mark.parametrize("missing", ["low", "high", "p_value"])
def test_what_a_score_may_lack(tmp_path, capsys, missing):
    score = {name: value for name, value in SCORE.items() if name != missing}
    put(tmp_path, "scores.json", [{**SCORES[0], "scores": {"bleu": score, "$new|": score}}])
    assert report(tmp_path, capsys)[0] == 0
    assert "30.50" in (tmp_path / "report.html").read_text("utf-8")


def _large(path):
    with open(path, "wb") as stream:
        stream.truncate(LARGEST_LOG + 1)


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


def test_no_reader_of_its_own():
    folder = Path(__file__).resolve().parents[2] / "fairseq_mos" / "report"
    own = re.compile(r"json\.loads?\(|rglob|\.(is_file|is_dir|exists)\(\)")
    assert not [file for file in folder.glob("*.py") if own.search(file.read_text("utf-8"))]
