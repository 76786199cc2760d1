"""Pictures drawn by matplotlib without a screen, as PNG files or as SVG text; what is written in them is literal."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq_mos.errors import one_line
from fairseq_mos.files import atomic_write

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Colours that stay apart for colour-blind readers and in grey."""

_LONGEST = 120

# A dollar sign, an underscore or a backslash in the name of a run or a device begins no formula.
_LITERAL = {"text.parse_math": False, "text.usetex": False}

# Fixed names of parts, so that the same run gives the same file.
_SVG = {"svg.hashsalt": "fairseq-mos", "svg.fonttype": "path", "font.size": 10, "axes.labelsize": 9}


class Drawing:
    """Holds the SVG that :func:`svg_picture` makes."""

    svg = ""


@contextmanager
def picture(path: Path, size: tuple[float, float], dpi: int = 130) -> Iterator:
    """Yields the axes of a picture and writes it as PNG, in one step, when the block succeeds.

    Args:
        path: the file.
        size: width and height in inches.
        dpi: dots per inch.

    Raises:
        ImportError: matplotlib is not installed.
        UserError: the file cannot be written.
    """
    with _figure(size, dpi=dpi) as (figure, axes):
        yield axes
        axes.grid(alpha=0.3)
        _lay_out(figure)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png")


@contextmanager
def svg_picture(size: tuple[float, float]) -> Iterator[tuple]:
    """Yields axes and a :class:`Drawing`, whose `svg` is set when the block ends.

    Args:
        size: width and height in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with _figure(size, **_SVG) as (figure, axes):
        drawing = Drawing()
        yield axes, drawing
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        _lay_out(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        text = stream.getvalue()
        drawing.svg = text[text.index("<svg") :]


@contextmanager
def _figure(size: tuple[float, float], dpi: int | None = None, **settings: object) -> Iterator[tuple]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({**_LITERAL, **settings}), warnings.catch_warnings():
        # That a script is not in the font, or that a long name leaves little room, is seen in the picture.
        warnings.simplefilter("ignore", UserWarning)
        figure, axes = pyplot.subplots(figsize=size, dpi=dpi)
        try:
            yield figure, axes
        finally:
            pyplot.close(figure)


def _lay_out(figure) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(_shown(text.get_text()))
    figure.tight_layout()


def _shown(text: str) -> str:
    """Shortens a text, and escapes what no font and no XML can hold; its line ends stay."""
    return "\n".join(one_line(line, _LONGEST) for line in text.split("\n")[:3])
