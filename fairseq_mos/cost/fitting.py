"""From a file of measured latencies to a predictor, its error and its picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cost.dataset import LatencyData, read_dataset
from fairseq_mos.cost.features import features
from fairseq_mos.cost.predictor import LatencyPredictor, Measurements, Reference
from fairseq_mos.cost.regression import Errors, choose, errors, fit, split, tau_ceiling
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.files import check_unread
from fairseq_mos.pictures import picture
from fairseq_mos.tables import check_ending, signature_line, write_csv, write_json
from fairseq_mos.version import __version__

_BESIDE = (".errors.json", ".heldout.csv", ".png")


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
        middle_ms: median latency of the measured architectures.
        threads: CPU threads of the measurements; None: the data do not say.
        about: what the data set says of its supernet, see :attr:`fairseq_mos.cost.dataset.LatencyData.about`.
    """

    model: str
    errors: Errors
    noise: float
    ceiling: float
    files: Sequence[Path]
    remark: str
    middle_ms: float
    threads: int | None
    about: Mapping[str, object]


def fit_file(
    dataset: str, output: str, model: str = "auto", seed: int = 1, space: str | None = None, device: str = "unknown"
) -> Report:
    """Fits a predictor, writes it, and beside it its errors (JSON), its held-out predictions (CSV) and a picture.

    The error comes from a predictor that was fitted to 90 % of the architectures, on the others; the
    predictor that is written is fitted to all.

    Args:
        dataset: a file of `latency-dataset`, or a CSV file with the columns of HAT's data sets.
        output: the predictor's file, which ends in `.json`.
        model: a name of :data:`fairseq_mos.cost.regression.MODELS`, or `auto`.
        seed: of the split.
        space: the search space of a CSV file.
        device: the device of a CSV file.

    Raises:
        UserError: unusable data, or an output that is unwritable, ends otherwise or would overwrite the data.
    """
    check_ending(output, ".json")
    files = [Path(output), *(Path(output).with_suffix(ending) for ending in _BESIDE)]
    check_unread(files, [dataset, space or dataset])
    about: Mapping[str, object] = {}
    if dataset.endswith(".csv"):
        if space is None:
            raise UserError("a CSV file does not say its search space: give --search-space")
        of_space = SearchSpace.load(space)
        data, noise, repeated = family_of(of_space).read_csv(dataset, of_space, device), math.nan, ()
    else:
        measured = read_dataset(dataset)
        rows = [features("layers", measured.space, arch) for arch in measured.architectures]
        data = Measurements(
            measured.space, measured.signature, "layers", rows, measured.milliseconds, _reference(measured)
        )
        noise, repeated = measured.noise(), measured.reference
        about = measured.about
    found, held_out, predicted, model = held_out_errors(data, model, seed)
    ceiling = tau_ceiling(predicted, repeated, seed)
    actual = [data.milliseconds[i] for i in held_out]
    signature = {
        "space": f"{data.space.name}-{data.space.digest()}",
        **data.signature,
        "features": data.kind,
        "model": model,
        "seed": seed,
        "fairseq_mos": __version__,
    }
    LatencyPredictor(data, model, found).save(files[0])
    write_json(
        files[1],
        {
            **asdict(found),
            "fastest_ms": min(actual),
            "slowest_ms": max(actual),
            "noise": noise,
            "kendall_tau_ceiling": ceiling,
            "dataset": dataset,
            "signature": signature,
        },
    )
    line = signature_line(signature)
    rows = zip(held_out, actual, predicted)
    write_csv(
        files[2],
        [{"row": i, "measured_ms": here, "predicted_ms": there, "signature": line} for i, here, there in rows],
    )
    remark = ""
    try:
        _draw(files[3], actual, predicted, found, str(data.signature.get("device", device)))
    except ImportError:
        del files[3]
        remark = 'no picture: it needs matplotlib (pip install "fairseq-mos[plot]")'
    middle = statistics.median(data.milliseconds)
    return Report(model, found, noise, ceiling, files, remark, middle, data.signature.get("threads"), about)


def _reference(data: LatencyData) -> Reference | None:
    """Returns the reference of a data set with the median of its latencies."""
    if not data.reference:
        return None
    return Reference(data.space.largest(), statistics.median(data.reference))


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
