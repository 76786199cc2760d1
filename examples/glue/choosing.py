"""What is finished, and which point of a grid is the best."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.documents import read_json
from fairseq_mos.metrics.glue import MEASURES
from fairseq_mos.paths import found_below, is_file
from glue.units import Finished


@dataclass(frozen=True)
class Chosen:
    """The best point of a task's grid.

    Attributes:
        point: learning rate, batch, epochs, and `MNLI` where it started from the model fine-tuned on that.
        scores: of its units, by digest and split.
        points: points with a result.
    """

    point: tuple
    scores: dict[str, dict[str, dict[str, float]]]
    points: int

    def values(self, measure: str, split: str = "valid") -> list[float]:
        """Returns a measure of all seeds."""
        return [scores[split][measure] for scores in self.scores.values()]


def models_folder(output: Path) -> Path:
    """Returns where the models' folders are."""
    return output / "models"


def read_about(folder: Path) -> dict | None:
    """Returns what a model's folder says of the model; None where it is none.

    Raises:
        UserError: a damaged file.
    """
    file = folder / "model.json"
    if not is_file(file):
        return None
    return read_json(file, "model of the table", dict[str, int | str | None])


def units_in(output: Path, name: str, task: str, data: str, distilled: bool) -> list[tuple[str, dict]]:
    """Returns digest and content of the finished units of a model and a task.

    Args:
        output: the folder of everything.
        name: of the model.
        task: of GLUE.
        data: digest of the prepared task; units of other contents do not count.
        distilled: those with a teacher, or those without.
    """
    finished, found = Finished(models_folder(output) / name), []
    for file in found_below(finished.folder, "units/*/result.json"):
        content = finished.read(file.parent.name)
        unit = content["unit"]
        if (unit["task"], unit["data"], bool(unit["teacher"])) == (task, data, distilled):
            found.append((file.parent.name, content))
    return found


def choose(task: str, units: Iterable[tuple[str, dict]], model: str) -> Chosen | None:
    """Returns the best point: of the highest mean over its seeds on the dev set, as in the published experiments.

    Args:
        task: of GLUE.
        units: of :func:`units_in`.
        model: digest of the pretrained model; what starts from another one started from MNLI's.
    """
    points: dict[tuple, dict] = {}
    for digest, content in units:
        unit = content["unit"]
        origin = () if unit["model"] == model else ("MNLI",)
        # Plans may differ in flags, too: those are other points.
        flags = tuple(sorted((name, *values) for name, values in unit["flags"].items() if name != "--seed"))
        key = (*unit["point"], *origin, flags, unit["teacher"], unit["model"])
        points.setdefault(key, {})[digest] = content["result"]["scores"]
    if not points:
        return None
    measure = MEASURES[task][0]

    def mean(key: tuple) -> float:
        return statistics.mean(scores["valid"][measure] for scores in points[key].values())

    # Ties: the first in the order of the keys, whatever the files' order.
    best = max(sorted(points, key=repr), key=mean)
    return Chosen(best[:-3], points[best], len(points))


def best_unit(output: Path, name: str, task: str, data: str, distilled: bool) -> str | None:
    """Returns the digest of the best seed of the best point; None where nothing is finished."""
    about = read_about(models_folder(output) / name)
    chosen = choose(task, units_in(output, name, task, data, distilled), about["model"]) if about else None
    if chosen is None:
        return None
    measure = MEASURES[task][0]
    return max(sorted(chosen.scores), key=lambda digest: chosen.scores[digest]["valid"][measure])
