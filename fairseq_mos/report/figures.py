"""The report's diagrams, as SVG text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fairseq_mos.pictures import COLOURS, svg_picture
from fairseq_mos.report.logs import TrainingLog
from fairseq_mos.report.mixes import Mixes
from fairseq_mos.report.records import Search
from fairseq_mos.search.plots import cost_axis, draw_front, draw_progress


def training_curves(log: TrainingLog) -> str:
    """Valid losses of all roles over updates; the training loss, thin, where there is one."""
    roles = log.roles
    with _diagram(4.2) as (axes, drawing):
        if log.train:
            updates = sorted(log.train)
            axes.plot(updates, [log.train[u] for u in updates], color="#bbbbbb", linewidth=1, label="training")
        for role, colour in zip(roles, itertools.cycle(COLOURS)):
            curve = log.valid[role]
            updates = sorted(curve)
            label = f"valid, {role}" if role else "valid" if len(roles) == 1 else "valid, mean of these"
            # Epochs of a short run: a line of one point is none.
            style = {"linestyle": "--"} if not role and len(roles) > 1 else {}
            style["marker"] = "." if len(curve) < 20 else ""
            axes.plot(updates, [curve[u] for u in updates], color=colour, label=label, **style)
        axes.set_xlabel("updates")
        axes.set_ylabel("loss (bits per token, label-smoothed)")
    return drawing.svg


def compared_curves(logs: Sequence[TrainingLog], target: float) -> str:
    """Valid losses of two training runs of one subnet, and the loss that both should reach."""
    with _diagram(4.2) as (axes, drawing):
        for log, colour in zip(logs, COLOURS):
            updates = sorted(log.valid[""])
            # matplotlib leaves out of its legend what begins with an underscore, as a name may.
            label = f"valid, {log.name}"
            axes.plot(updates, [log.valid[""][u] for u in updates], color=colour, marker=".", label=label)
        axes.axhline(target, color="#666666", linestyle=":", label=f"lowest from scratch: {target:.3f}")
        # The first updates from scratch would hide what matters.
        low = min(value for log in logs for value in log.valid[""].values())
        axes.set_ylim(low - 0.1, min(target + 1.5, max(v for log in logs for v in log.valid[""].values()) + 0.1))
        axes.set_xlabel("updates")
        axes.set_ylabel("valid loss (bits per token)")
    return drawing.svg


def search_progress(search: Search) -> str:
    """The first objective of every evaluation, and the best so far."""
    with _diagram(3.8) as (axes, drawing):
        draw_progress(axes, search.shown)
    return drawing.svg


def pareto_front(search: Search) -> str | None:
    """An objective against a cost; the front and the winner stand out. None where no cost is known."""
    if cost_axis(search.shown) is None:
        return None
    with _diagram(4.6) as (axes, drawing):
        draw_front(axes, search.shown)
    return drawing.svg


@contextmanager
def _diagram(height: float) -> Iterator[tuple]:
    with svg_picture((9, height)) as (axes, drawing):
        yield axes, drawing
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)


def mix_map(mixes: Mixes) -> str:
    """The first expert's mean weight, places by architectures; spread over neurons in small print."""
    import matplotlib
    import numpy

    values = numpy.array([[numpy.nan if cell is None else cell for cell in row] for row in mixes.mean], dtype=float)
    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#f0f0f0")
    share = 1 / mixes.experts
    reach = max(0.02, float(numpy.nanmax(numpy.abs(values - share))))
    size = (2.6 + 1.0 * len(mixes.architectures), 1.2 + 0.32 * len(mixes.places))
    with svg_picture(size) as (axes, drawing):
        image = axes.imshow(values, cmap=colours, vmin=share - reach, vmax=share + reach, aspect="auto")
        axes.set_xticks(range(len(mixes.architectures)), mixes.architectures, rotation=20, ha="right")
        axes.set_yticks(range(len(mixes.places)), mixes.places)
        for y, row in enumerate(mixes.mean):
            for x, cell in enumerate(row):
                if cell is not None:
                    dark = abs(cell - share) > 0.7 * reach
                    text = f"{cell:.2f} ±{mixes.spread[y][x]:.2f}"
                    axes.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axes.figure.colorbar(image, ax=axes, label="weight of expert 1 (mean over neurons)", shrink=0.7)
    return drawing.svg
