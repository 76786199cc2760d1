"""Pictures as files, drawn by matplotlib without a screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq_mos.files import atomic_write


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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=size, dpi=dpi)
    try:
        yield axes
        axes.grid(alpha=0.3)
        figure.tight_layout()
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png")
    finally:
        pyplot.close(figure)
