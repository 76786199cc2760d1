"""The pictures of a comparison, each as a PNG file and, for the page, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fairseq_mos.pictures import COLOURS, picture, svg_picture
from fairseq_mos.report.document import Figure
from reproduce.comparison import TITLES, Comparison
from reproduce.plan import Plan

SIZE = (8.5, 4.5)

CONFLICT = "conflict"
"""Key of the picture of gradient conflict, beside those of metrics."""


def draw_figures(folder: Path, plan: Plan, found: Comparison, counts: list[dict]) -> dict[str, list[Figure]]:
    """Draws, for each metric, the gap against cost, and inherited against from-scratch values.

    Args:
        folder: where the PNG files lie.
        plan: the plan.
        found: the measured values.
        counts: parameters and FLOPs of its architectures.

    Returns:
        Metric -> its figures; no metric before there is a gap.
    """
    flops = np.array([one["flops"] for one in counts]) / 1e6
    order = np.argsort(flops)
    figures = {}
    for metric in plan.metrics:
        truth, floor = found.truth(metric), found.floor(metric)
        means = {}
        for method in plan.methods:
            seeds = [found.of((method, seed), metric) for seed in found.seeds(method)]
            if seeds and not np.isnan(np.mean(seeds, 0) - truth).all():
                means[method] = np.mean(seeds, 0)
        if not means:
            continue

        def draw_gaps(axes, metric=metric, means=means, truth=truth, floor=floor) -> None:
            for number, (method, values) in enumerate(means.items()):
                axes.plot(flops[order], (values - truth)[order], label=method, lw=1, ms=4, **style(number))
            if not np.isnan(floor):
                axes.axhspan(-floor, floor, color="0.85", label="noise of two seeds")
            axes.set_xlabel("MFLOPs at 30/30 tokens")
            axes.set_ylabel("inherited minus from scratch")
            axes.set_title(TITLES[metric], fontsize="medium")
            legend(axes)

        def draw_pairs(axes, metric=metric, means=means, truth=truth) -> None:
            for number, (method, values) in enumerate(means.items()):
                axes.plot(truth, values, ls="", ms=4, label=method, **style(number))
            ends = [np.nanmin(truth), np.nanmax(truth)]
            axes.plot(ends, ends, color="0.6", lw=1)
            axes.set_xlabel("from scratch")
            axes.set_ylabel("inherited")
            axes.set_title(TITLES[metric], fontsize="medium")
            legend(axes)

        captions = ("Gap of each architecture against its FLOPs", "Inherited against from-scratch values")
        figures[metric] = [
            drawn(folder / f"{kind}_{metric}.png", draw, f"{caption}; means over seeds.")
            for kind, draw, caption in zip(("gap", "inherited"), (draw_gaps, draw_pairs), captions)
        ]
    return figures


def draw_conflicts(folder: Path, rows: Sequence[Mapping]) -> Figure:
    """Draws the mean cosine over a training, a line for each method.

    Args:
        folder: where the PNG file lies.
        rows: of :func:`reproduce.conflicts.conflict_rows`.
    """

    def draw(axes) -> None:
        for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            own = [row for row in rows if row["method"] == method and row["kind"] == "all"]
            updates, cosines = ([row[name] for row in own] for name in ("update", "cosine"))
            axes.plot(updates, cosines, label=method, lw=1, ms=4, **style(number))
        axes.set_xlabel("updates")
        axes.set_ylabel("mean cosine of two subnets' gradients")
        legend(axes)

    return drawn(folder / "conflict.png", draw, "Mean cosine between gradients of two subnets, all weights.")


def drawn(file: Path, draw: Callable, caption: str) -> Figure:
    """Draws a picture into a PNG file and returns it as a figure of the page.

    Args:
        file: the PNG file.
        draw: draws on axes.
        caption: of the figure.
    """
    with picture(file, SIZE) as axes:
        draw(axes)
    with svg_picture(SIZE) as (axes, drawing):
        draw(axes)
    return Figure(file.stem, drawing.svg, caption)


def legend(axes) -> None:
    """Draws the legend beside the axes: a plan may have more methods than would leave room within."""
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def style(number: int) -> dict[str, str]:
    """Returns how method `number` is drawn in every picture."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": "osv^D"[number // len(COLOURS) % 5]}
