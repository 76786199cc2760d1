"""The report's diagrams, as SVG text."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fairseq_mos.report.discover import Search
from fairseq_mos.report.logs import TrainingLog
from fairseq_mos.report.mixes import Mixes
from fairseq_mos.search.objectives import OBJECTIVES

# Colours that stay apart for colour-blind readers and in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_COSTS = ("latency_ms", "flops", "params", "params_no_embed")


class _Drawing:
    """Holds the SVG that :func:`_drawn` makes."""

    svg = ""


@contextmanager
def _drawn(size: tuple[float, float]) -> Iterator[tuple]:
    """Yields axes and a holder, whose `svg` is set when the block ends."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # Fixed, so that the same run gives the same file.
    with pyplot.rc_context(
        {"svg.hashsalt": "fairseq-mos", "svg.fonttype": "path", "font.size": 10, "axes.labelsize": 9}
    ):
        figure, axes = pyplot.subplots(figsize=size)
        drawing = _Drawing()
        try:
            yield axes, drawing
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            figure.tight_layout()
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata={"Date": None})
            text = stream.getvalue()
            drawing.svg = _own_names(text[text.index("<svg") :])
        finally:
            pyplot.close(figure)


_count = 0


def _own_names(svg: str) -> str:
    """Gives the ids of one picture a prefix of its own: several share a page."""
    global _count
    _count += 1
    prefix = f"p{_count}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'((?:xlink:)?href="#)', rf"\1{prefix}", svg)
    return re.sub(r"url\(#", f"url(#{prefix}", svg)


def training_curves(log: TrainingLog) -> str:
    """Valid losses of all roles over updates; the training loss, thin, where there is one."""
    roles = log.roles
    with _drawn((9, 4.2)) as (axes, drawing):
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
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    return drawing.svg


def compared_curves(logs: Sequence[TrainingLog], target: float) -> str:
    """Valid losses of two training runs of one subnet, and the loss that both should reach."""
    with _drawn((9, 4.2)) as (axes, drawing):
        for log, colour in zip(logs, COLOURS):
            updates = sorted(log.valid[""])
            axes.plot(updates, [log.valid[""][u] for u in updates], color=colour, marker=".", label=log.name)
        axes.axhline(target, color="#666666", linestyle=":", label=f"lowest from scratch: {target:.3f}")
        # The first updates from scratch would hide what matters.
        low = min(value for log in logs for value in log.valid[""].values())
        axes.set_ylim(low - 0.1, min(target + 1.5, max(v for log in logs for v in log.valid[""].values()) + 0.1))
        axes.set_xlabel("updates")
        axes.set_ylabel("valid loss (bits per token)")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    return drawing.svg


def search_progress(search: Search) -> str:
    """The first objective of every full evaluation, and the best so far."""
    objective = OBJECTIVES[search.signature["objectives"][0]]
    rows = [row for row in search.evaluations if row.get(objective.name) is not None and not row.get("raced")]
    best, steps = None, []
    for row in rows:
        value = row[objective.name]
        better = best is None or (value < best if objective.minimize else value > best)
        best = value if better else best
        steps.append(best)
    numbers = [row["index"] + 1 for row in rows]
    with _drawn((9, 3.8)) as (axes, drawing):
        axes.scatter(numbers, [row[objective.name] for row in rows], s=16, color="#999999", label="evaluated in full")
        axes.plot(numbers, steps, color=COLOURS[1], drawstyle="steps-post", label="best so far")
        axes.set_xlabel("evaluations")
        axes.set_ylabel(objective.meaning)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    return drawing.svg


def axes_of(search: Search) -> tuple[str, str | None]:
    """The objective and the cost to draw it against.

    The objective is the first that is no cost, if there is one. The cost is another objective, a limited one, or the
    first that is known of the winner; None if none is.
    """
    objectives = search.signature["objectives"]
    objective = next((name for name in objectives if name not in _COSTS), objectives[0])
    limited = [text.split("<")[0].split(">")[0].strip() for text in search.signature.get("constraints", [])]
    named = [name for name in (*objectives, *limited, *_COSTS) if name in _COSTS and name != objective]
    return objective, next((name for name in named if search.best.get(name) is not None), None)


def pareto_front(search: Search) -> str | None:
    """An objective against a cost; the front and the winner stand out. None where no cost is known."""
    name, cost = axes_of(search)
    if cost is None or search.best.get(name) is None:
        return None
    objective = OBJECTIVES[name]
    rows = [row for row in search.evaluations if row.get(objective.name) is not None and row.get(cost) is not None]
    full = [row for row in rows if not row.get("raced")]
    raced = [row for row in rows if row.get("raced")]
    sign = 1 if objective.minimize else -1
    front: list[dict] = []
    for row in sorted(full, key=lambda row: (row[cost], sign * row[objective.name])):
        if not front or sign * row[objective.name] < sign * front[-1][objective.name]:
            front.append(row)
    with _drawn((9, 4.6)) as (axes, drawing):
        if raced:
            points = [row[cost] for row in raced], [row[objective.name] for row in raced]
            axes.scatter(*points, s=14, marker="x", color="#cccccc", label=f"stopped early, estimated ({len(raced)})")
        points = [row[cost] for row in full], [row[objective.name] for row in full]
        axes.scatter(*points, s=22, color="#999999", label=f"evaluated in full ({len(full)})")
        axes.plot(
            [row[cost] for row in front],
            [row[objective.name] for row in front],
            drawstyle="steps-post",
            marker="o",
            markersize=4,
            color=COLOURS[0],
            label=f"Pareto front ({len(front)})",
        )
        best = search.best
        axes.scatter(
            [best[cost]], [best[objective.name]], s=200, marker="*", color=COLOURS[1], zorder=3, label="picked"
        )
        for measured in best.get("measured") or []:
            if cost == "latency_ms" and measured.get("holds"):
                axes.hlines(best[objective.name], measured["low"], measured["high"], color=COLOURS[2], linewidth=2)
                label = "picked, measured (quartiles)"
                axes.scatter([measured["measured"]], [best[objective.name]], marker="D", color=COLOURS[2], label=label)
        axes.set_xlabel(OBJECTIVES[cost].meaning)
        axes.set_ylabel(objective.meaning)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    return drawing.svg


def mix_map(mixes: Mixes) -> str:
    """The first expert's mean weight, places by architectures; spread over neurons in small print."""
    import matplotlib
    import numpy

    values = numpy.array([[numpy.nan if cell is None else cell for cell in row] for row in mixes.mean], dtype=float)
    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#f0f0f0")
    share = 1 / mixes.experts
    reach = max(0.02, float(numpy.nanmax(numpy.abs(values - share))))
    size = (2.6 + 1.0 * len(mixes.architectures), 1.2 + 0.32 * len(mixes.places))
    with _drawn(size) as (axes, drawing):
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
