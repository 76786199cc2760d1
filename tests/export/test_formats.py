"""A new format is one file and one row."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairseq_mos import formats
from fairseq_mos.cli import main
from fairseq_mos.families.translation import probe
from fairseq_mos.files import replaced_folder
from fairseq_mos.formats import EXPORTERS, Exporter, Option
from fairseq_mos.models.about import ABOUT, write_about
from fairseq_mos.models.opening import load_bundle, open_model
from fairseq_mos.models.weights import write_weights


def write(bundle, output, check=None, colour="red"):
    """The toy's file: this module is all that a format needs."""
    with replaced_folder(output, ("toy.safetensors", "colour", ABOUT, "dict.*", "*.model")) as new:
        for file in bundle.data.files():
            (new / file.name).write_bytes(file.read_bytes())
        write_weights(bundle.model, new / "toy.safetensors")
        (new / "colour").write_text(colour)
        write_about(bundle, new, "toy")
        if check is not None:
            check(new)
    return sorted(Path(output).iterdir())


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(probe, "MAX_LENGTH", 12)
    options = (Option("colour", "red", "red or blue"),)
    formats.register(Exporter("toy", "a toy", __name__, ("translation",), options, "toy.safetensors"))
    yield
    del EXPORTERS["toy"]


def _export(small, output, *arguments, form="toy"):
    command = ["export", "--path", small.path, "--architecture", "smallest", "--sentences", "3"]
    return main([*command, "--format", form, "--output", str(output), *arguments])


@pytest.mark.usefixtures("toy")
def test_a_new_format_is_written_checked_and_opened(small, tmp_path, capsys, monkeypatch):
    assert _export(small, tmp_path / "out", "--colour", "blue") == 0
    assert "checked: all 3 greedy" in capsys.readouterr().out
    assert (tmp_path / "out/colour").read_text() == "blue"
    again = load_bundle(tmp_path / "out")
    assert again.model.architecture == small.space.smallest() and again.data.languages == ("en", "de")
    assert main(["export", "--help"]) == 0
    assert "toy: a toy" in " ".join(capsys.readouterr().out.split())
    # A runtime of its own: here one that says something else.
    wrong = [probe.Translation(["x"], 0.0)] * 3
    monkeypatch.setattr(sys.modules[__name__], "run", lambda place, inputs: wrong, raising=False)
    assert _export(small, tmp_path / "other") == 1 and not (tmp_path / "other").exists()


@pytest.mark.usefixtures("toy")
def test_its_option_belongs_to_it(small, tmp_path, capsys):
    assert _export(small, tmp_path / "out", "--colour", "blue", form="safetensors") == 2
    assert "--colour blue is for --format toy" in capsys.readouterr().err


def test_a_format_of_another_family(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(EXPORTERS, "toy", Exporter("toy", "a toy", __name__, ("tagging",)))
    assert _export(small, tmp_path / "out", "--no-check") == 2
    assert "--format toy is for tagging, not for translation" in capsys.readouterr().err


def test_a_folder_is_no_supernet(small, tmp_path):
    assert _export(small, tmp_path / "out", "--no-check", form="safetensors") == 0
    opened = open_model(tmp_path / "out")
    assert not opened.is_supernet and opened.dictionaries[0].parent == tmp_path / "out"
    with pytest.raises(ValueError, match="out is no supernet: its model is mos_subnet, expected mos_transformer"):
        _ = opened.space
