"""`fairseq-mos export` as a user meets it."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest
import torch

from fairseq_mos import hub
from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import extract_checkpoint
from fairseq_mos.families.translation import ct2, probe
from fairseq_mos.models.opening import load_bundle
from tests import toy
from tests.small import Small, small_supernet


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    space = toy.space("embed", arbitrary_attention=[-1])
    return small_supernet(tmp_path_factory.mktemp("export"), space)


@pytest.fixture
def export(small, tmp_path, capsys, monkeypatch):
    """Returns a function that runs the verb and returns exit code, standard output and standard error."""
    monkeypatch.setattr(probe, "MAX_LENGTH", 12)

    def call(*arguments, path=small.path, output=tmp_path / "out"):
        code = main(["export", "--path", str(path), "--output", str(output), *map(str, arguments)])
        return (code, *capsys.readouterr())

    return call


@pytest.mark.parametrize("form", ["safetensors", "torch-export", "ctranslate2"])
def test_folders_are_written_and_checked(small, export, tmp_path, form):
    code, out, _ = export("--architecture", "largest", "--format", form, "--test", small.folder / "test.en")
    assert code == 0 and "checked: all 12 greedy translations have the original's tokens" in out
    assert (tmp_path / "out" / "sentencepiece.bpe.model").is_file()


@pytest.mark.parametrize("form", ["ctranslate2", "stock"])
def test_blank_lines_are_nothing_to_translate(small, export, tmp_path, form):
    lines = (small.folder / "test.en").read_text("utf-8").splitlines()
    # The last but one is not blank to Python, but to sentencepiece.
    text = ["", lines[0], "", "  ", *lines[1:3], "\u200b", lines[3]]
    (tmp_path / "test.en").write_text("\n".join(text) + "\n\n", "utf-8")
    arguments = ("--architecture", "largest", "--format", form, "--test", tmp_path / "test.en")
    code, out, _ = export(*arguments, "--sentences", "3")
    # They count for nothing, and their scores do not differ.
    assert code == 0 and "checked: all 3 greedy" in out and float(out.split("at most ")[1].split()[0]) < 1e-3
    assert "checked: all 4 greedy" in export(*arguments, "--sentences", "9")[1]
    (tmp_path / "test.en").write_text("\n \n")
    code, _, err = export(*arguments)
    assert code == 2 and err.count("\n") == 1 and "test.en holds no sentence" in err


def test_files_are_written_and_checked(small, export, tmp_path):
    code, out, _ = export("--architecture", "largest", "--format", "stock", output=tmp_path / "a" / "stock.pt")
    assert code == 0 and "checked: all 100 greedy" in out and (tmp_path / "a" / "dict.de.txt").is_file()
    shared = ("--architecture", "random:3", "--format", "safetensors", "--no-check")
    assert export(*shared, output=tmp_path / "shared")[1].count("checked") == 0
    code, out, _ = export("--format", "fairseq", path=tmp_path / "shared", output=tmp_path / "b" / "subnet.pt")
    assert code == 0
    one = load_bundle(str(tmp_path / "shared")).model.state_dict()
    two = load_bundle(str(tmp_path / "b" / "subnet.pt")).model.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("form", "name"), [("safetensors", "out"), ("stock", "out/stock.pt")])
def test_the_tokenizer_goes_along(export, tmp_path, form, name):
    arguments = ("--architecture", "largest", "--format", form, "--no-check")
    code, _, err = export(*arguments, "--tokenizer", "foo", output=tmp_path / name)
    assert code == 2 and "tokenizer is 'foo', allowed: moses" in err and not (tmp_path / "out").exists()
    assert export(*arguments, "--tokenizer", "moses", output=tmp_path / name)[0] == 0
    bundle = load_bundle(tmp_path / name)
    assert bundle.data.tokenizer == "moses" and hub.of_bundle(bundle).tokenize("a.") == "a ."


def test_int8_may_differ_and_says_how_much(export):
    code, out, _ = export("--architecture", "largest", "--format", "ctranslate2", "--quantization", "int8")
    assert code == 0 and " 100 greedy translations have the original's tokens; their scores differ by at most" in out


def test_an_export_that_differs_is_an_error_and_leaves_nothing(export, tmp_path, monkeypatch):
    wrong = [probe.Translation(["x"], 0.0)] * 3
    monkeypatch.setattr(ct2, "run", lambda folder, lines: wrong)
    code, out, _ = export("--architecture", "largest", "--format", "ctranslate2", "--sentences", "3")
    assert code == 1 and "sentence 1 is the first that differs: nothing was written" in out
    answers = iter([[probe.Translation(["y"], 0.0)] * 3, wrong] * 2)
    monkeypatch.setattr(probe, "run", lambda bundle, lines: next(answers))
    for form in ("safetensors", "stock"):
        arguments = ("--architecture", "largest", "--format", form, "--sentences", "3")
        assert export(*arguments, output=tmp_path / f"{form}.pt")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_kept(small, export, tmp_path):
    """Another format's folder, and another model's dictionaries, are not overwritten."""
    arguments = ("--architecture", "largest", "--no-check", "--format")
    assert export(*arguments, "safetensors")[0] == 0
    for form in ("torch-export", "ctranslate2"):
        code, _, err = export(*arguments, form)
        assert code == 2 and "out holds " in err and "which is not of this format: give another --output" in err
    (tmp_path / "dict.de.txt").write_text("mine 1\n")
    code, _, err = export(*arguments, "stock", output=tmp_path / "stock.pt")
    assert code == 2 and "dict.de.txt exists and differs from " in err and err.count("\n") == 1
    with pytest.raises(UserError, match="dict.de.txt exists and differs from "):
        extract_checkpoint(small.path, "largest", str(tmp_path / "subnet.pt"))
    assert (tmp_path / "dict.de.txt").read_text() == "mine 1\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dict.de.txt", "out"]


@contextmanager
def _files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("form", ["safetensors", "ctranslate2", "stock", "fairseq"])
def test_a_full_disk(export, tmp_path, form):
    with _files_of_at_most(20_000):
        code, _, err = export("--architecture", "largest", "--format", form, "--no-check")
    assert code == 2 and "cannot write " in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_extraction_takes_the_subword_model_along(small, tmp_path):
    extract_checkpoint(small.path, "smallest", str(tmp_path / "subnet.pt"))
    name = "sentencepiece.bpe.model"
    assert (tmp_path / name).read_bytes() == (small.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "safetensors"], "is a supernet, which has many architectures: give --architecture"),
        (["--format", "stock", "--architecture", "random:1"], "--format stock has one head count"),
        (["--format", "ctranslate2", "--architecture", "largest", "--quantization", "q"], "--quantization is 'q'"),
        (["--format", "stock", "--architecture", "largest", "--quantization", "int8"], "is for --format ctranslate2"),
        (
            ["--format", "stock", "--architecture", "largest", "--sentences", "0"],
            "--sentences is 0, allowed: 1 to",
        ),
        (["--format", "stock", "--architecture", "largest", "--test", "nothing"], "nothing: cannot read the text: No"),
    ],
)
def test_bad_input_is_one_line(export, tmp_path, arguments, message):
    code, _, err = export(*arguments)
    assert code == 2 and message in err and err.count("\n") == 1 and not (tmp_path / "out").exists()
