"""Pictures of a search, of this process or read from its files: its Pareto front, and how it went."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_mos.pictures import COLOURS, picture
from fairseq_mos.search.pareto import nondominated
from fairseq_mos.search.quantities import CLOCK, QUANTITIES, traded

if TYPE_CHECKING:
    from fairseq_mos.search.constraints import Constraint
    from fairseq_mos.search.driver import Result
    from fairseq_mos.search.evaluation import Evaluation
    from fairseq_mos.search.plan import Plan

_FRONT, _BEST, _MEASURED = COLOURS[:3]
_GREY = COLOURS[-1]
_RACED = {"s": 12, "color": "#cccccc", "marker": "x"}


@dataclass(frozen=True)
class Shown:
    """A search as its pictures show it.

    Attributes:
        objectives: names of quantities; the first one picks the winner.
        limits: what every evaluated architecture keeps.
        evaluations: all of them, in order.
        best: the winner's values.
        refuted: numbers of the evaluations that broke a limit when they were measured.
        confirmed: the predicted quantity's value and quartiles, as measured of the winner.
        times: how many evaluations there were after how many seconds.
    """

    objectives: Sequence[str]
    limits: Sequence[Constraint]
    evaluations: Sequence[Evaluation]
    best: Mapping[str, float]
    refuted: Collection[int] = ()
    confirmed: tuple[float, float, float] | None = None
    times: Sequence[Sequence[float]] = ()


def draw_search(folder: Path, plan: Plan, result: Result) -> list[Path]:
    """Writes `pareto.png` and `progress.png` and returns their paths.

    Raises:
        ImportError: matplotlib is not installed.
    """
    last = result.confirmations[-1] if result.confirmations else None
    shown = Shown(
        plan.objectives,
        plan.constraints,
        result.evaluations,
        result.best.values,
        {c.evaluation.index for c in result.confirmations if not c.holds},
        (last.measured, last.low, last.high) if last else None,
        result.times,
    )
    files = {
        folder / "pareto.png": (draw_front, f"Search of space {plan.space.name} ({plan.algorithm})"),
        folder / "progress.png": (draw_progress, f"Progress of the search ({plan.algorithm})"),
    }
    for file, (draw, title) in files.items():
        with picture(file, (8, 5)) as axes:
            draw(axes, shown)
            axes.set_title(title, fontsize=11)
            axes.legend(fontsize=8)
    return list(files)


def cost_axis(shown: Shown) -> str | None:
    """Returns what to draw the first objective against: the second one, or the limited cost, or FLOPs.

    Of these, the first whose value is known of the winner; None if none is.
    """
    value, *others = shown.objectives
    limited = [limit.name for limit in shown.limits if limit.name in traded()]
    names = [*others, *limited, "flops", *traded()]
    return next((name for name in names if name != value and shown.best.get(name) is not None), None)


def draw_front(axes, shown: Shown) -> None:
    """Draws the first objective against another quantity, see :func:`cost_axis`; the front and the winner stand out."""
    cost, value = cost_axis(shown), shown.objectives[0]
    known = [e for e in shown.evaluations if cost in e.values and value in e.values]
    full = [e for e in known if e.full]
    raced = [e for e in known if not e.full]

    def scatter(points: Sequence[Mapping[str, float]], **style) -> None:
        axes.scatter([values[cost] for values in points], [values[value] for values in points], **style)

    if raced:
        scatter([e.values for e in raced], **_RACED, label=f"stopped early, estimated ({len(raced)})")
    if full:
        scatter([e.values for e in full], s=20, color=_GREY, label=f"evaluated in full ({len(full)})")
    refuted = [e.values for e in full if e.index in shown.refuted]
    if refuted:
        scatter(refuted, s=50, color=_BEST, marker="x", zorder=3, label="broke the limit when measured")
    front = nondominated([e for e in full if e.index not in shown.refuted], (cost, value))
    axes.plot(
        [e.values[cost] for e in front],
        [e.values[value] for e in front],
        drawstyle="steps-post" if QUANTITIES[cost].minimize else "default",
        marker="o",
        markersize=4,
        color=_FRONT,
        label=f"Pareto front ({len(front)})",
    )
    scatter([shown.best], s=180, marker="*", color=_BEST, zorder=3, label="winner")
    if shown.confirmed is not None and QUANTITIES[cost].source == CLOCK:
        measured, low, high = shown.confirmed
        axes.errorbar(
            [measured],
            [shown.best[value]],
            xerr=[[max(0.0, measured - low)], [max(0.0, high - measured)]],
            fmt="D",
            markersize=6,
            color=_MEASURED,
            capsize=4,
            zorder=4,
            label="winner, measured (quartiles)",
        )
    for limit in shown.limits:
        if limit.name == cost:
            axes.axvline(limit.limit, color="#666666", linestyle=":", label=f"limit {limit}")
    axes.set_xlabel(QUANTITIES[cost].label)
    axes.set_ylabel(QUANTITIES[value].label)


def draw_progress(axes, shown: Shown) -> None:
    """Draws the first objective of every evaluation and the best so far, over evaluations and minutes."""
    from matplotlib.ticker import MaxNLocator

    objective = QUANTITIES[shown.objectives[0]]
    known = [e for e in shown.evaluations if objective.name in e.values]
    best, steps = None, []
    for evaluation in known:
        if evaluation.full and (best is None or objective.fitness(evaluation) < objective.fitness(best)):
            best = evaluation
        steps.append(math.nan if best is None else best.values[objective.name])
    styles = {True: {"s": 14, "color": _GREY, "label": "evaluated in full"}}
    styles[False] = {**_RACED, "label": "stopped early, estimated"}
    for full, style in styles.items():
        if chosen := [e for e in known if e.full == full]:
            axes.scatter([e.index + 1 for e in chosen], [e.values[objective.name] for e in chosen], **style)
    numbers = [e.index + 1 for e in known]
    axes.plot(numbers, steps, color=_BEST, drawstyle="steps-post", label="best so far")
    if numbers:
        axes.set_xlim(0.5, max(numbers) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("evaluations")
    axes.set_ylabel(objective.label)
    if len(shown.times) > 1:
        _add_minutes(axes, shown.times)


def _add_minutes(axes, times: Sequence[Sequence[float]]) -> None:
    """Marks on the upper edge when the search was how far, in minutes of its running time."""
    import numpy

    evaluations, seconds = map(numpy.array, zip(*times))
    top = axes.twiny()
    top.set_xlim(axes.get_xlim())
    places = numpy.linspace(evaluations[0], evaluations[-1], 6)
    top.set_xticks(places, [f"{minutes:.2g}" for minutes in numpy.interp(places, evaluations, seconds) / 60])
    top.set_xlabel("minutes", fontsize=8)
    top.tick_params(labelsize=8)
