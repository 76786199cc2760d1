"""The report's diagrams, as SVG text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from fairseq_mos.pictures import svg_picture
from fairseq_mos.report.logs import TrainingLog
from fairseq_mos.report.mixes import Mixes
from fairseq_mos.report.records import Search
from fairseq_mos.search.objectives import OBJECTIVES

# Colours that stay apart for colour-blind readers and in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_COSTS = ("latency_ms", "flops", "params", "params_no_embed")


def training_curves(log: TrainingLog) -> str:
    """Valid losses of all roles over updates; the training loss, thin, where there is one."""
    roles = log.roles
    with svg_picture((9, 4.2)) as (axes, drawing):
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
    with svg_picture((9, 4.2)) as (axes, drawing):
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
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    return drawing.svg


def search_progress(search: Search) -> str:
    """The first objective of every full evaluation, and the best so far."""
    objective = OBJECTIVES[search.about.signature.objectives[0]]
    rows = [row for row in search.evaluations if getattr(row, objective.name) is not None and not row.raced]
    values = [getattr(row, objective.name) for row in rows]
    numbers = [row.index + 1 for row in rows]
    with svg_picture((9, 3.8)) as (axes, drawing):
        axes.scatter(numbers, values, s=16, color="#999999", label="evaluated in full")
        steps = list(itertools.accumulate(values, min if objective.minimize else max))
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
    objectives = search.about.signature.objectives
    objective = next((name for name in objectives if name not in _COSTS), objectives[0])
    limited = [text.split("<")[0].split(">")[0].strip() for text in search.about.signature.constraints]
    named = [name for name in (*objectives, *limited, *_COSTS) if name in _COSTS and name != objective]
    return objective, next((name for name in named if getattr(search.best, name) is not None), None)


def pareto_front(search: Search) -> str | None:
    """An objective against a cost; the front and the winner stand out. None where no cost is known."""
    name, cost = axes_of(search)
    if cost is None or getattr(search.best, name) is None:
        return None
    objective = OBJECTIVES[name]

    def point(row) -> tuple[float, float]:
        return getattr(row, cost), getattr(row, name)

    rows = [row for row in search.evaluations if None not in point(row)]
    full = [point(row) for row in rows if not row.raced]
    raced = [point(row) for row in rows if row.raced]
    sign = 1 if objective.minimize else -1
    front: list[tuple[float, float]] = []
    for at, value in sorted(full, key=lambda found: (found[0], sign * found[1])):
        if not front or sign * value < sign * front[-1][1]:
            front.append((at, value))
    with svg_picture((9, 4.6)) as (axes, drawing):
        if raced:
            label = f"stopped early, estimated ({len(raced)})"
            axes.scatter(*zip(*raced), s=14, marker="x", color="#cccccc", label=label)
        if full:
            axes.scatter(*zip(*full), s=22, color="#999999", label=f"evaluated in full ({len(full)})")
            axes.plot(
                *zip(*front),
                drawstyle="steps-post",
                marker="o",
                markersize=4,
                color=COLOURS[0],
                label=f"Pareto front ({len(front)})",
            )
        best, height = search.best, getattr(search.best, name)
        axes.scatter(*point(best), s=200, marker="*", color=COLOURS[1], zorder=3, label="picked")
        for measured in best.measured or []:
            if cost == "latency_ms" and measured.holds:
                axes.hlines(height, measured.low, measured.high, color=COLOURS[2], linewidth=2)
                label = "picked, measured (quartiles)"
                axes.scatter(measured.measured, height, marker="D", color=COLOURS[2], label=label)
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
