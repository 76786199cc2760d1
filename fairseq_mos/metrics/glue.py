"""GLUE's scores, from predictions of a whole set in which every example counts once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.documents import read_text, show
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write

MEASURES = {
    "CoLA": ("matthews",),
    "SST-2": ("accuracy",),
    "MRPC": ("accuracy", "f1"),
    "QQP": ("accuracy", "f1"),
    "STS-B": ("pearson", "spearman"),
    "MNLI": ("accuracy",),
    "QNLI": ("accuracy",),
    "RTE": ("accuracy",),
}
"""Task -> its measures; the first one stands for it in averages."""

SENTENCES = {**dict.fromkeys(MEASURES, 2), "CoLA": 1, "SST-2": 1}
"""Task -> sentences of an example."""

REGRESSION = ("STS-B",)
"""Tasks whose labels and predictions are numbers."""

_COLUMNS = ("index", "label", "prediction")


@dataclass(frozen=True)
class Predictions:
    """What a model says of a set, in the set's order.

    Attributes:
        labels: classes by name, or numbers.
        predictions: likewise.
    """

    labels: list[str] | list[float]
    predictions: list[str] | list[float]


def glue_scores(task: str, labels: Sequence, predictions: Sequence) -> dict[str, float]:
    """Returns a task's measures, times 100 as in published tables.

    Args:
        task: one of :data:`MEASURES`.
        labels: of all examples: classes by name, numbers for STS-B.
        predictions: in the same order.

    Returns:
        Measure -> value. Where a correlation is undefined, because all predictions are the same, it is 0: nothing
        was told apart.

    Raises:
        UserError: an unknown task, different numbers of labels and predictions, none, or numbers that are not finite.
    """
    if task not in MEASURES:
        raise UserError(f"GLUE task {show(task)} is unknown, allowed: {', '.join(MEASURES)}")
    if len(labels) != len(predictions) or not len(labels):
        raise UserError(f"{task} has {len(labels)} labels and {len(predictions)} predictions, expected as many, not 0")
    if task in REGRESSION:
        labels, predictions = ([float(value) for value in values] for values in (labels, predictions))
        if not all(map(math.isfinite, (*labels, *predictions))):
            raise UserError(f"{task} has labels or predictions that are no finite numbers")
    return {name: 100.0 * _MAKERS[name](labels, predictions) for name in MEASURES[task]}


def write_predictions(path: str | Path, found: Predictions) -> None:
    """Writes a table: index, label and prediction of each example, a line each.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write("\t".join(_COLUMNS) + "\n")
        for number, (label, prediction) in enumerate(zip(found.labels, found.predictions, strict=True)):
            stream.write(f"{number}\t{label}\t{prediction}\n")


def read_predictions(path: str | Path, task: str) -> Predictions:
    """Reads what :func:`write_predictions` wrote; the lines may stand in any order.

    Raises:
        UserError: names the line: another table, a value that is no number where the task has numbers, or an example
            that is missing or there twice.
    """
    head, *lines = read_text(path, "predictions").split("\n")[:-1] or [""]
    if tuple(head.split("\t")) != _COLUMNS:
        raise UserError(f"{path}: line 1 is {show(head)}, expected the columns {', '.join(_COLUMNS)}")
    found: dict[int, tuple] = {}
    for number, line in enumerate(lines, 2):
        index, *values = line.split("\t")
        if len(values) != 2 or not (index.isascii() and index.isdigit() and len(index) < 10):
            raise UserError(f"{path}: line {number} is {show(line)}, expected an index, a label and a prediction")
        if int(index) in found:
            raise UserError(f"{path}: line {number}: the example {index} stands there twice")
        try:
            found[int(index)] = tuple(map(float, values)) if task in REGRESSION else tuple(values)
        except ValueError:
            raise UserError(f"{path}: line {number} is {show(line)}, expected numbers") from None
    missing = next((index for index in range(len(found)) if index not in found), None)
    if missing is not None or not found:
        raise UserError(f"{path}: the example {missing or 0} is missing")
    labels, predictions = zip(*(found[index] for index in range(len(found))))
    return Predictions(list(labels), list(predictions))


def score_file(path: str | Path, task: str) -> dict[str, float]:
    """Returns :func:`glue_scores` of a file of predictions.

    Raises:
        UserError: see there and :func:`read_predictions`.
    """
    found = read_predictions(path, task)
    try:
        return glue_scores(task, found.labels, found.predictions)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _matthews(labels, predictions) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def _accuracy(labels, predictions) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def _f1(labels, predictions) -> float:
    from sklearn.metrics import f1_score

    # A paraphrase, or a duplicate, is what is looked for.
    return float(f1_score([x == "1" for x in labels], [x == "1" for x in predictions], zero_division=0.0))


def _correlation(name: str):
    def correlate(labels, predictions) -> float:
        from scipy import stats

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constant predictions
            value = float(getattr(stats, name)(labels, predictions)[0]) if len(labels) > 1 else math.nan
        return 0.0 if math.isnan(value) else value

    return correlate


_MAKERS = {
    "matthews": _matthews,
    "accuracy": _accuracy,
    "f1": _f1,
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
}
