"""The pictures of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fairseq_mos.pictures import COLOURS, picture
from reproduce.plan import Plan

SIZE = (7.0, 4.5)


def draw_figures(folder: Path, plan: Plan, found, counts: list[dict]) -> list[Path]:
    """Draws, for each metric, the gap against cost, and inherited against from-scratch values.

    Args:
        folder: where.
        plan: the plan.
        found: the :class:`reproduce.results.Comparison`.
        counts: parameters and FLOPs of its architectures.

    Returns:
        The files; none before there is a gap.
    """
    from reproduce.results import TITLES

    flops = np.array([one["flops"] for one in counts]) / 1e6
    order = np.argsort(flops)
    files = []
    for metric in plan.metrics:
        truth, floor = found.truth(metric), found.floor(metric)
        means = {}
        for method in plan.methods:
            seeds = [found.of((method, seed), metric) for seed in found.seeds(method)]
            if seeds and not np.isnan(np.mean(seeds, 0) - truth).all():
                means[method] = np.mean(seeds, 0)
        if not means:
            continue
        files += [folder / f"gap_{metric}.png", folder / f"inherited_{metric}.png"]
        with picture(files[-2], SIZE) as axes:
            for number, (method, values) in enumerate(means.items()):
                axes.plot(flops[order], (values - truth)[order], label=method, lw=1, ms=4, **style(number))
            if not np.isnan(floor):
                axes.axhspan(-floor, floor, color="0.85", label="noise of two seeds")
            axes.set_xlabel("MFLOPs at 30/30 tokens")
            axes.set_ylabel(f"inherited minus from scratch: {TITLES[metric]}")
            axes.legend(fontsize=7)
        with picture(files[-1], SIZE) as axes:
            for number, (method, values) in enumerate(means.items()):
                axes.plot(truth, values, ls="", ms=4, label=method, **style(number))
            ends = [np.nanmin(truth), np.nanmax(truth)]
            axes.plot(ends, ends, color="0.6", lw=1)
            axes.set_xlabel(f"from scratch: {TITLES[metric]}")
            axes.set_ylabel("inherited")
            axes.legend(fontsize=7)
    return files


def style(number: int) -> dict[str, str]:
    """Returns how method `number` is drawn in every picture."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": "osv^D"[number // len(COLOURS) % 5]}
