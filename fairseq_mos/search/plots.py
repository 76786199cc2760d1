"""Pictures of a search: its Pareto front, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_mos.pictures import picture
from fairseq_mos.search.archive import Evaluation
from fairseq_mos.search.objectives import OBJECTIVES
from fairseq_mos.search.results import COST_FRONTS, fronts

if TYPE_CHECKING:
    from fairseq_mos.search.driver import Plan, Result

# Colours that stay apart for colour-blind readers and in grey.
_GREY, _FRONT, _BEST = "#999999", "#0072b2", "#d55e00"


def draw_search(folder: Path, plan: Plan, result: Result) -> list[Path]:
    """Writes `pareto.png` and `progress.png` and returns their paths.

    The first shows the first objective against the second one, or against the limited cost, or FLOPs; the
    second one the best value so far over evaluations.

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
    """Returns the cost to draw the first objective against."""
    named = [*plan.objectives[1:], *(constraint.name for constraint in plan.constraints)]
    return next((name for name in named if name in COST_FRONTS), "flops")


def _pareto(axes, plan: Plan, result: Result) -> None:
    cost, value = cost_axis(plan), plan.objectives[0]
    full = [e for e in result.evaluations if e.full]
    raced = [e for e in result.evaluations if not e.full]

    def scatter(evaluations: Sequence[Evaluation], **style) -> None:
        axes.scatter([e.values[cost] for e in evaluations], [e.values[value] for e in evaluations], **style)

    if raced:
        scatter(raced, s=12, color="#cccccc", marker="x", label=f"stopped early, estimated ({len(raced)})")
    scatter(full, s=20, color=_GREY, label=f"evaluated in full ({len(full)})")
    front = fronts(result.evaluations, plan)[cost]
    axes.plot(
        [e.values[cost] for e in front],
        [e.values[value] for e in front],
        drawstyle="steps-post",
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
    objective = OBJECTIVES[plan.objectives[0]]
    full = [e for e in result.evaluations if e.full]
    best, steps = None, []
    for evaluation in full:
        if best is None or objective.fitness(evaluation) < objective.fitness(best):
            best = evaluation
        steps.append(best.values[objective.name])
    axes.scatter(
        [e.index + 1 for e in full],
        [e.values[objective.name] for e in full],
        s=14,
        color=_GREY,
        label="evaluated in full",
    )
    axes.plot([e.index + 1 for e in full], steps, color=_BEST, label="best so far")
    axes.set_xlabel("evaluations")
    axes.set_ylabel(objective.meaning)
    axes.set_title(f"Progress of the search ({plan.algorithm})", fontsize=11)
