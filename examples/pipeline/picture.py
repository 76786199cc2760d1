"""The picture: valid loss against latency of all evaluated architectures, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Point(NamedTuple):
    """Latency in milliseconds, and valid loss in bits per token."""

    latency: float
    loss: float


# Colours that stay apart for colour-blind readers and in grey.
MARKERS = {
    "largest": ("s", "#0072b2"),
    "found": ("*", "#d55e00"),
    "smallest": ("v", "#009e73"),
    "stock transformer": ("D", "#000000"),
    "found, retrained": ("P", "#d55e00"),
    "found, from scratch": ("X", "#e69f00"),
}


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Returns the points that no other beats in both latency and loss, fastest first."""
    front: list[Point] = []
    for point in sorted(set(points)):
        if not front or point.loss < front[-1].loss:
            front.append(point)
    return front


def draw(
    path: Path,
    title: str,
    evaluated: Sequence[Point],
    marked: dict[str, Point],
    limit: float | None = None,
    quartiles: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Writes a PNG.

    Args:
        path: the file.
        title: above the picture.
        evaluated: what the search has evaluated, with predicted latency; the front is made of these.
        marked: name -> point of the systems to name, with measured latency.
        limit: the search's latency limit.
        quartiles: name -> lower and upper quartile of the measured latency.
    """
    from fairseq_mos.pictures import picture

    with picture(path, (8, 5), dpi=150) as axes:
        axes.scatter(
            [point.latency for point in evaluated],
            [point.loss for point in evaluated],
            s=22,
            color="#999999",
            label=f"evaluated by the search ({len(evaluated)}), latency predicted",
        )
        front = pareto_front(evaluated)
        axes.plot(
            [point.latency for point in front],
            [point.loss for point in front],
            drawstyle="steps-post",
            color="#56b4e9",
            linewidth=1.6,
            zorder=1,
            label="Pareto front",
        )
        for name, point in marked.items():
            marker, colour = MARKERS.get(name, ("o", "#cc79a7"))
            size = 190 if marker == "*" else 75
            if quartiles and name in quartiles:
                axes.hlines(point.loss, *quartiles[name], color=colour, linewidth=1.2, zorder=2)
            label = f"{name}, measured"
            axes.scatter([point.latency], [point.loss], s=size, marker=marker, color=colour, zorder=3, label=label)
        if limit is not None:
            axes.axvline(limit, color="#666666", linestyle=":", linewidth=1, label="limit of the search")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("latency of one sentence on this machine (ms; 30 tokens in, 30 steps at beam 5)")
        axes.set_ylabel("valid loss (label-smoothed, bits per token)")
        axes.legend(fontsize=8)
