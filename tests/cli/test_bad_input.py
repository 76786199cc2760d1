"""Every verb x every kind of bad input: one line, exit code 2, nothing written.

A new verb has to be listed in `GOOD`, and a new flag that takes a path in `PATHS` or `TEXTS`.
"""

from __future__ import annotations

import argparse
import copy
import shutil

import pytest
import torch

from fairseq_mos.cli import VERBS, build_parser, main
from fairseq_mos.ranges import Range
from tests.small import small_supernet
from tests.supernet_commands import load

GOOD = {
    "architecture": "--path SUPERNET --output OUT.yaml",
    "average": "--inputs SUPERNET SUPERNET --output OUT.pt",
    "corpus": "--inputs GENERATED --source-lang en --target-lang de --output OUT",
    "evaluate": "--path SUPERNET --architecture smallest --test-set TEST --output OUT",
    "export": "--path SUPERNET --architecture smallest --format safetensors --output OUT",
    "extract": "--path SUPERNET --architecture smallest --output OUT/model.pt",
    "fit-latency": "--dataset DATASET --output OUT.json",
    "latency-dataset": "--path SUPERNET --samples 2 --runs 4 --output OUT.jsonl",
    "profile": "--path SUPERNET --output OUT.json",
    "report": "RUN --output OUT.html",
    "search": "DATA --path SUPERNET --output OUT --cpu",
    "user-dir": "",
}
"""Arguments that work, or would with better files; what is tested replaces one of them or is added."""

PATHS = {
    "architecture": ("--path", "--search-space", "--architecture"),
    "average": ("--inputs",),
    "corpus": ("--inputs",),
    "evaluate": ("--path", "--architecture", "--hypotheses", "--test-set", "--data", "--comet-python"),
    "export": ("--path", "--architecture", "--data", "--test"),
    "extract": ("--path", "--architecture", "--data"),
    "fit-latency": ("--dataset", "--search-space"),
    "latency-dataset": ("--path", "--search-space", "--data"),
    "profile": ("--path", "--search-space", "--architecture", "--data"),
    "report": ("RUN", "--supernet", "--scratch", "--retrained"),
    "search": ("DATA", "--path", "--latency-predictor", "--start", "--proxy-data"),
    "user-dir": (),
}
"""What is read. A flag that excludes another one takes its place."""

NEEDS = {"--comet-python": ["--comet", "MODEL"], "--scratch": ["--retrain"], "--retrained": ["--retrain"]}
"""What else a flag of these needs."""

TEXTS = {
    "--format", "--metrics", "--paired", "--bpe", "--tokenizer", "--comet", "--source-lang", "--target-lang", "--share",
    "--quantization", "--model", "--device-name", "--memory", "--gen-subset", "--protocol", "--device", "--precision",
    "--algorithm", "--objectives", "--constraint", "--valid-subset", "--post-process", "--distributed-init-method",
    "--title", "--checkpoint-suffix", "--proxy-task",
}  # fmt: skip
"""Flags of text that is no path."""

NAMES = {
    "long": "n" * 300, "long folder": f"{'n' * 300}/x", "loop": "loop/x", "null": "a\0b", "missing": "missing\nfile",
}  # fmt: skip
NUMBERS = ("x", "", "nan", "-1e9", "1e999", "9" * 400, "9" * 5000, "0x10", "1_0\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad input")
    small_supernet(folder)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "empty").mkdir()
    (folder / "RUN").mkdir()
    (folder / "data.jsonl").write_text("")
    (folder / "generated.txt").write_text("S-0\tein Hund\nH-0\t-0.1\ta dog\n")
    return folder


def _words(verb, folder, **replaced):
    places = {
        "SUPERNET": folder / "supernet.pt", "TEST": folder / "test", "OUT": folder / "out", "RUN": folder / "RUN",
        "DATA": folder, "DATASET": folder / "data.jsonl", "GENERATED": folder / "generated.txt",
    }  # fmt: skip
    words = GOOD[verb].split()
    return [
        str(replaced.get(word) or (f"{places[stem]}{word[len(stem):]}" if stem in places else word))
        for word in words
        for stem in [word.split(".")[0].split("/")[0]]
    ]


def _with(words, flag, value):
    """Returns the arguments with a flag of another value, instead of what it excludes."""
    words = list(words)
    for other in (flag, *({"--search-space": ["--path"]}.get(flag, []))):
        if other in words:
            place = words.index(other)
            end = next((i for i in range(place + 1, len(words)) if words[i].startswith("--")), len(words))
            del words[place:end]
    return [*words, flag, value]


def _refused(capsys, words):
    code = main(words)
    complaint = capsys.readouterr().err
    assert code == 2, complaint
    lines = [line for line in complaint.splitlines() if line]
    assert len(lines) == 1 and "error: " in lines[0] and "Traceback" not in complaint, complaint
    assert lines[0].isprintable() and len(lines[0]) < 2100
    return lines[0]


def _actions(verb):
    parser = build_parser(verb)
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in subparsers.choices[verb]._actions if action.dest != "help"]


def _flag(action):
    return action.option_strings[0] if action.option_strings else action.metavar


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_flag_is_listed_here(verb):
    assert set(GOOD) == set(PATHS) == set(VERBS)
    for action in _actions(verb):
        assert action.type is None or isinstance(action.type, Range), f"{_flag(action)} has no range"
        if action.type is None and action.nargs != 0:
            known = {*PATHS[verb], *TEXTS, "--output"}
            assert _flag(action) in known, f"{_flag(action)} is neither in PATHS nor in TEXTS"


@pytest.mark.parametrize("verb", VERBS)
def test_numbers(verb, folder, capsys):
    for action in _actions(verb):
        for value in NUMBERS if isinstance(action.type, Range) else ():
            line = _refused(capsys, [verb, *_words(verb, folder), f"{_flag(action)}={value}"])
            assert f"error: {_flag(action)} is " in line and "allowed: " in line


@pytest.mark.parametrize("verb", VERBS)
def test_empty_texts(verb, folder, capsys):
    """What a shell makes of a variable that is not set."""
    for action in _actions(verb):
        if action.type is None and action.nargs != 0 and action.option_strings and not action.choices:
            line = _refused(capsys, [verb, *_with(_words(verb, folder), _flag(action), "")])
            assert f"{_flag(action)} is empty" in line


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", VERBS)
def test_paths(verb, name, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    for flag in PATHS[verb]:
        words = _words(verb, folder, **{flag: NAMES[name]})
        words = words if flag.isupper() else _with(words, flag, NAMES[name])
        _refused(capsys, [verb, *words, *NEEDS.get(flag, [])])
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("name", ["long", "long folder", "loop", "null", "supernet.pt/below"])
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "user-dir"])
def test_outputs(verb, name, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    ending = GOOD[verb].split()[-1].removeprefix("OUT") if verb != "search" else ""
    _refused(capsys, [verb, *_with(_words(verb, folder), "--output", NAMES.get(name, name) + ending)])


READ = {
    "architecture": ("x.yaml", "--search-space x.yaml --output ./x.yaml"),
    "average": ("x.pt", "--inputs supernet.pt x.pt --output x.pt"),
    "corpus": ("x.en", "--inputs x.en --source-lang en --target-lang de --output x"),
    "evaluate": ("OUT/scores.json", "--hypotheses h=OUT/scores.json --test-set TEST --output OUT"),
    "export": ("x.pt", "--path x.pt --format fairseq --output x.pt"),
    "extract": ("x.yaml", "--path supernet.pt --architecture x.yaml --output x.yaml"),
    "fit-latency": ("x.json", "--dataset x.json --output x.json"),
    "latency-dataset": ("x.jsonl.csv", "--search-space x.jsonl.csv --output x.jsonl"),
    "profile": ("x.csv", "--path supernet.pt --architecture x.csv --output x.json"),
    "report": ("OUT/x.md", "OUT --supernet OUT/x.md --output OUT/x.html"),
    "search": ("OUT/best.yaml", "DATA --path supernet.pt --start OUT/best.yaml --output OUT"),
}
"""A file, and arguments that would have it read and overwritten."""


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "user-dir"])
def test_nothing_that_is_read_is_overwritten(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, words = READ[verb]
    (tmp_path / "OUT").mkdir()
    (tmp_path / name).write_text("mine")
    line = _refused(capsys, [verb, *words.split()])
    assert "error: writing " in line and f"{name} would overwrite " in line and "which is read: give another" in line
    assert (tmp_path / name).read_text() == "mine"


CONTENTS = {
    "nothing": b"",
    "zeros": b"\0" * 1000,
    "text": b"hello",
    "a tensor": lambda state: torch.zeros(3),
    "no model": lambda state: {**state, "model": None},
    "numbers": lambda state: {**state, "model": {"a": 1}},
    "no configuration": lambda state: {**state, "cfg": None},
    "no task": lambda state: {**state, "cfg": {**state["cfg"], "task": None}},
    "fconv": lambda state: _changed(state, _name="fconv", encoder_layers="__import__('os').system('touch WITNESS')"),
    "layers": lambda state: _changed(state, encoder_layers=10**9),
    "positions": lambda state: _changed(state, max_source_positions=10**11),
    "routing": lambda state: _changed(state, routing=None),
    "space": lambda state: _changed(state, search_space_definition="[" * 1000),
}


def _changed(state, **options):
    state = copy.deepcopy(state)
    state["cfg"]["model"].update(options)
    return state


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if "SUPERNET" in GOOD[verb]])
def test_checkpoints(verb, content, folder, capsys, monkeypatch):
    if verb == "average" and content in ("no configuration", "fconv", "layers", "positions", "routing", "space"):
        pytest.skip("average takes checkpoints of any model, and builds none")
    bad = folder / "bad.pt"
    made = CONTENTS[content]
    if isinstance(made, bytes):
        bad.write_bytes(made)
    else:
        torch.save(made(load(folder / "supernet.pt")), bad)
    monkeypatch.chdir(folder)
    words = [str(bad) if word == str(folder / "supernet.pt") else word for word in _words(verb, folder)]
    if verb == "architecture" and content in ("fconv", "layers", "positions", "routing"):
        # It reads the search space alone.
        words[-1] = "/proc/none.yaml"
    line = _refused(capsys, [verb, *words])
    assert "bad.pt" in line or verb == "architecture" or content == "no configuration"
    assert not (folder / "WITNESS").exists()
    bad.unlink()
    shutil.rmtree(folder / "out", ignore_errors=True)


def test_one_line_whatever_a_name_holds(folder, capsys):
    words = ["--architecture", "largest", "--output", "x.pt"]
    line = _refused(capsys, ["extract", "--path", "a\nb\x1b[31m\udc80", *words])
    assert "a b\\x1b[31m\\udc80" in line
    line = _refused(capsys, ["extract", "--path\nx", "1"])
    assert "(see --help)" in line
