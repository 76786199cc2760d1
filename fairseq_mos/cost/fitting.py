"""From a file of measured latencies to a predictor, its error and its picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cost.dataset import read_dataset
from fairseq_mos.cost.features import MEAN_NAMES, features, products
from fairseq_mos.cost.predictor import LatencyPredictor, Measurements
from fairseq_mos.cost.regression import Errors, choose, errors, fit, split, tau_ceiling
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.pictures import picture

_LATENCIES = ("latency_mean_encoder", "latency_mean_decoder")


@dataclass(frozen=True)
class Report:
    """What a fit reports.

    Attributes:
        model: the model that was chosen.
        errors: on held-out architectures.
        noise: relative noise of repeated measurements; NaN where it is not known.
        ceiling: Kendall tau of exact predictions under that noise; NaN where it is not known.
        files: what was written.
        remark: what should be said besides; may be empty.
    """

    model: str
    errors: Errors
    noise: float
    ceiling: float
    files: Sequence[Path]
    remark: str


def fit_file(
    dataset: str, output: str, model: str = "auto", seed: int = 1, space: str | None = None, device: str = "unknown"
) -> Report:
    """Fits a predictor, writes it, its held-out predictions (CSV) and a picture.

    The error comes from a predictor that was fitted to 90 % of the architectures, on the others; the
    predictor that is written is fitted to all.

    Args:
        dataset: a file of `latency-dataset`, or a CSV file with the columns of HAT's data sets.
        output: the predictor's file.
        model: a name of :data:`fairseq_mos.cost.regression.MODELS`, or `auto`.
        seed: of the split.
        space: the search space of a CSV file.
        device: the device of a CSV file.

    Raises:
        UserError: unusable data, or an unwritable output.
    """
    if dataset.endswith(".csv"):
        if space is None:
            raise UserError("a CSV file does not say its search space: give --search-space")
        data, noise, repeated = read_hat_csv(dataset, SearchSpace.load(space), device), math.nan, ()
    else:
        measured = read_dataset(dataset)
        rows = [features("layers", measured.space, arch) for arch in measured.architectures]
        data = Measurements(measured.space, measured.signature, "layers", rows, measured.milliseconds)
        noise, repeated = measured.noise(), measured.reference
    found, held_out, predicted, model = held_out_errors(data, model, seed)
    LatencyPredictor(data, model, found).save(output)
    files = [Path(output), Path(output).with_suffix(".heldout.csv")]
    actual = [data.milliseconds[i] for i in held_out]
    with atomic_write(files[1]) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["row", "measured_ms", "predicted_ms"])
        writer.writerows(zip(held_out, actual, predicted))
    remark = ""
    drawn = Path(output).with_suffix(".png")
    try:
        _draw(drawn, actual, predicted, found, str(data.signature.get("device", device)))
        files.append(drawn)
    except ImportError:
        remark = 'no picture: it needs matplotlib (pip install "fairseq-mos[plot]")'
    return Report(model, found, noise, tau_ceiling(predicted, repeated, seed), files, remark)


def held_out_errors(data: Measurements, model: str, seed: int) -> tuple[Errors, list[int], list[float], str]:
    """Fits to 90 % of the architectures and predicts the others.

    Returns:
        The errors, the places of the held-out architectures, their predictions, and the model.

    Raises:
        UserError: too few architectures.
    """
    kept, held_out = split(len(data.rows), seed)
    rows, milliseconds = [data.rows[i] for i in kept], [data.milliseconds[i] for i in kept]
    if model == "auto":
        model = choose(rows, milliseconds, seed)
    predicted = fit(model, rows, milliseconds)([data.rows[i] for i in held_out])
    actual = [data.milliseconds[i] for i in held_out]
    return errors(predicted, actual, len(kept), seed), held_out, predicted, model


def read_hat_csv(path: str, space: SearchSpace, device: str) -> Measurements:
    """Reads a data set with HAT's columns; the target is encoder plus decoder.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a value that is no positive number.
    """
    rows, milliseconds = [], []
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in (*MEAN_NAMES, *_LATENCIES) if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path}: column {missing[0]} is missing, expected {', '.join(MEAN_NAMES + _LATENCIES)}"
                )
            for number, row in enumerate(reader, 2):
                try:
                    rows.append(products([float(row[name]) for name in MEAN_NAMES]))
                    milliseconds.append(sum(float(row[name]) for name in _LATENCIES))
                except (TypeError, ValueError):
                    raise UserError(f"{path}: line {number} holds something that is no number") from None
                if not 0 < milliseconds[-1] < math.inf:
                    raise UserError(f"{path}: line {number} has a latency of {milliseconds[-1]}, expected more than 0")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return Measurements(space, {"protocol": "hat", "device": device}, "mean", rows, milliseconds)


def _draw(path: Path, actual: Sequence[float], predicted: Sequence[float], found: Errors, device: str) -> None:
    with picture(path, (6, 5.5)) as axes:
        ends = [min(*actual, *predicted), max(*actual, *predicted)]
        axes.plot(ends, ends, color="#666666", linewidth=1)
        for bound in (found.low, found.high):
            axes.plot(ends, [end * (1 + bound / 100) for end in ends], color="#d55e00", linestyle=":", linewidth=1)
        axes.scatter(actual, predicted, s=18, color="#0072b2")
        axes.set_xlabel("measured latency (ms)")
        axes.set_ylabel("predicted latency (ms)")
        axes.set_title(
            f"{len(actual)} held-out architectures, {device}\nMAPE {found.mape:.1f} %, tau {found.kendall_tau:.3f}; "
            "dotted: 90 % of the errors",
            fontsize=9,
        )
