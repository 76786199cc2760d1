"""Names in pictures are shown as they are, whatever they hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from fairseq_mos.pictures import picture, svg_picture

pyplot = pytest.importorskip("matplotlib.pyplot")

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["$", "a $\\frac$ b", "_x", "a\udcff", "a\x01\x1b[31m", "a\x00b", "--><svg>", "n" * 5000, "a\nb\r\n" * 100]


def _draw(axes, name):
    axes.plot([1, 2], [3, 4], label=f"valid, {name}")
    axes.set_title(f"{name}\nsecond line")
    axes.set_xlabel(name)
    axes.legend()
    axes.figure.colorbar(pyplot.cm.ScalarMappable(), ax=axes, label=name)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_can_be_drawn(tmp_path, name):
    with picture(tmp_path / "x.png", (3, 2)) as axes:
        _draw(axes, name)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with svg_picture((3, 2)) as (axes, drawing):
        _draw(axes, name)
    ElementTree.fromstring(drawing.svg)
    assert len(drawing.svg) < 500_000 and drawing.svg.encode()


def test_a_dollar_sign_begins_no_formula():
    def drawn(title):
        with svg_picture((3, 2)) as (axes, drawing):
            axes.set_title(title)
        return re.findall(r"<!-- (.*?) -->", drawing.svg)

    assert "$x^2$" in drawn("$x^2$")


def test_the_same_picture_is_the_same_text():
    def drawn():
        with svg_picture((3, 2)) as (axes, drawing):
            axes.plot([1, 2], [3, 4])
        return drawing.svg

    assert drawn() == drawn()


def test_every_picture_is_drawn_there():
    files = [*ROOT.glob("fairseq_mos/**/*.py"), *ROOT.glob("examples/**/*.py")]
    users = [file for file in files if "pyplot" in file.read_text("utf-8")]
    assert users == [ROOT / "fairseq_mos" / "pictures.py"]
