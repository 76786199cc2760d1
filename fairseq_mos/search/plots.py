"""Pictures of a search: its Pareto front, and how it went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_mos.pictures import picture
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.objectives import OBJECTIVES
from fairseq_mos.search.pareto import pareto_front
from fairseq_mos.search.results import COST_FRONTS

if TYPE_CHECKING:
    from fairseq_mos.search.driver import Result
    from fairseq_mos.search.plan import Plan

# Colours that stay apart for colour-blind readers and in grey.
_GREY, _FRONT, _BEST = "#999999", "#0072b2", "#d55e00"
_RACED = {"s": 12, "color": "#cccccc", "marker": "x"}


def draw_search(folder: Path, plan: Plan, result: Result) -> list[Path]:
    """Writes `pareto.png` and `progress.png` and returns their paths.

    The first shows the first objective against the second one, or against the limited cost, or FLOPs; the
    second one the best value so far over evaluations and minutes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    files = [folder / "pareto.png", folder / "progress.png"]
    for file, draw in zip(files, (_pareto, _progress)):
        with picture(file, (8, 5)) as axes:
            draw(axes, plan, result)
            axes.legend(fontsize=8)
    return files


def cost_axis(plan: Plan) -> str:
    """Returns what to draw the first objective against."""
    if len(plan.objectives) > 1:
        return plan.objectives[1]
    return next((limit.name for limit in plan.constraints if limit.name in COST_FRONTS), "flops")


def _pareto(axes, plan: Plan, result: Result) -> None:
    cost, value = cost_axis(plan), plan.objectives[0]
    full = [e for e in result.evaluations if e.full]
    raced = [e for e in result.evaluations if not e.full]

    def scatter(evaluations: Sequence[Evaluation], **style) -> None:
        axes.scatter([e.values[cost] for e in evaluations], [e.values[value] for e in evaluations], **style)

    if raced:
        scatter(raced, **_RACED, label=f"stopped early, estimated ({len(raced)})")
    scatter(full, s=20, color=_GREY, label=f"evaluated in full ({len(full)})")
    refuted = [c.evaluation for c in result.confirmations if not c.holds]
    if refuted:
        scatter(refuted, s=50, color=_BEST, marker="x", zorder=3, label="broke the limit when measured")
    broken = {evaluation.index for evaluation in refuted}
    front = pareto_front([e for e in full if e.index not in broken], cost, value)
    axes.plot(
        [e.values[cost] for e in front],
        [e.values[value] for e in front],
        drawstyle="steps-post" if OBJECTIVES[cost].minimize else "default",
        marker="o",
        markersize=4,
        color=_FRONT,
        label=f"Pareto front ({len(front)})",
    )
    scatter([result.best], s=180, marker="*", color=_BEST, zorder=3, label="winner")
    if cost == "latency_ms" and result.confirmations:
        last = result.confirmations[-1]
        axes.errorbar(
            [last.measured],
            [result.best.values[value]],
            xerr=[[max(0.0, last.measured - last.low)], [max(0.0, last.high - last.measured)]],
            fmt="D",
            markersize=6,
            color="#009e73",
            capsize=4,
            zorder=4,
            label="winner, measured (quartiles)",
        )
    for constraint in plan.constraints:
        if constraint.name == cost:
            axes.axvline(constraint.limit, color="#666666", linestyle=":", label=f"limit {constraint}")
    axes.set_xlabel(OBJECTIVES[cost].meaning)
    axes.set_ylabel(OBJECTIVES[value].meaning)
    axes.set_title(f"Search of space {plan.space.name} ({plan.algorithm})", fontsize=11)


def _progress(axes, plan: Plan, result: Result) -> None:
    from matplotlib.ticker import MaxNLocator

    objective = OBJECTIVES[plan.objectives[0]]
    best, steps = None, []
    for evaluation in result.evaluations:
        if evaluation.full and (best is None or objective.fitness(evaluation) < objective.fitness(best)):
            best = evaluation
        steps.append(math.nan if best is None else best.values[objective.name])
    for chosen, style in (
        ([e for e in result.evaluations if e.full], {"s": 14, "color": _GREY, "label": "evaluated in full"}),
        ([e for e in result.evaluations if not e.full], {**_RACED, "label": "stopped early, estimated"}),
    ):
        if chosen:
            axes.scatter([e.index + 1 for e in chosen], [e.values[objective.name] for e in chosen], **style)
    axes.plot(range(1, len(steps) + 1), steps, color=_BEST, drawstyle="steps-post", label="best so far")
    axes.set_xlim(0.5, len(steps) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("evaluations")
    axes.set_ylabel(objective.meaning)
    axes.set_title(f"Progress of the search ({plan.algorithm})", fontsize=11)
    if len(result.times) > 1:
        _add_minutes(axes, result.times)


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
