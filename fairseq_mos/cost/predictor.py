"""A latency predictor: scikit-learn on the features of an architecture, with an honest error.

Its file holds the measurements and the choice of the model, not the fitted model: loading it fits again,
deterministically. So nothing has to be unpickled, and a new scikit-learn can read an old file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.reading import compact_json
from fairseq_mos.cost.features import features
from fairseq_mos.cost.milliseconds import milliseconds
from fairseq_mos.cost.regression import MODELS, Errors, fit
from fairseq_mos.documents import convert, read_json, show
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.journal import finite

_HEADER = "fairseq_mos_latency_predictor"
_REMEDY = "fit it anew"
_LARGEST = 1e18  # of a feature: products of three sizes


@dataclass(frozen=True)
class Reference:
    """An architecture whose latency stands for the speed of the machine when the others were measured.

    Attributes:
        architecture: the architecture.
        milliseconds: its latency then.
    """

    architecture: Architecture
    milliseconds: float


@dataclass(frozen=True)
class Measurements:
    """What a predictor is fitted to.

    Attributes:
        space: the search space of the architectures.
        signature: how and where latency was measured, see
            :meth:`fairseq_mos.cost.latency.LatencySettings.signature`.
        kind: of the features, see :func:`fairseq_mos.cost.features.features`.
        rows: features of each architecture.
        milliseconds: latency of each.
        reference: what later measurements can be compared with; None: it was not recorded.
    """

    space: SearchSpace
    signature: Mapping[str, object]
    kind: str
    rows: Sequence[Sequence[float]]
    milliseconds: Sequence[float]
    reference: Reference | None = None


class LatencyPredictor:
    """Predicts the latency of architectures of one space on one device.

    Args:
        data: the measurements; the predictor is fitted to all of them.
        model: a name of :data:`fairseq_mos.cost.regression.MODELS`.
        errors: on held-out architectures, of a predictor fitted to the others.

    Raises:
        UserError: scikit-learn is not installed.
    """

    def __init__(self, data: Measurements, model: str, errors: Errors):
        self.data, self.model, self.errors = data, model, errors
        self.space, self.signature = data.space, dict(data.signature)
        self._predict = fit(model, data.rows, data.milliseconds)
        self._known: dict[Architecture, float] = {}

    def predict(self, archs: Sequence[Architecture]) -> list[float]:
        """Returns the latency of each architecture in milliseconds."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self._known]
        if new:
            rows = [features(self.data.kind, self.space, arch) for arch in new]
            self._known.update(zip(new, self._predict(rows)))
        return [self._known[arch] for arch in archs]

    def reference(self) -> Reference:
        """Returns what to compare measurements of today with.

        Data without one (of a CSV file, or in a predictor's file of an earlier version) has the largest
        architecture as predicted instead: it belongs to every data set of `latency-dataset`.
        """
        largest = self.space.largest()
        return self.data.reference or Reference(largest, self.predict([largest])[0])

    def check(self, space: SearchSpace, signature: Mapping[str, object] | None = None) -> None:
        """Checks that predictions hold for a space, and for a device and settings where these are given.

        Raises:
            UserError: they do not.
        """
        if space.digest() != self.space.digest():
            raise UserError(
                f"the latency predictor was fitted for search space {self.space.name!r} ({self.space.digest()}), "
                f"not for {space.name!r} ({space.digest()})"
            )
        for name in {**self.signature, **signature} if signature is not None else ():
            there, here = self.signature.get(name), signature.get(name)
            if there != here:
                remedy = f"give --threads {there}, fit one here" if name == "threads" else "fit one here"
                raise UserError(
                    f"the latency predictor was fitted for {name} {there}, here it is {here}: {remedy}, or give "
                    "--any-device"
                )

    def digest(self) -> str:
        """Returns 12 hexadecimal digits of all that predictions depend on."""
        return hashlib.sha256(compact_json(self._content()).encode()).hexdigest()[:12]

    def _content(self) -> dict:
        reference = {} if self.data.reference is None else {"reference": asdict(self.data.reference)}
        if reference:
            reference["reference"]["architecture"] = self.data.reference.architecture.to_dict()
        return {
            **reference,
            "model": self.model,
            "features": self.data.kind,
            "signature": self.signature,
            "space": self.space.to_dict(),
            "rows": [list(row) for row in self.data.rows],
            "milliseconds": list(self.data.milliseconds),
        }

    def save(self, path: str | Path) -> None:
        """Writes the predictor's file in one step.

        Raises:
            UserError: it cannot be written.
        """
        with atomic_write(path) as stream:
            json.dump({_HEADER: 1, "errors": finite(asdict(self.errors)), **self._content()}, stream)
            stream.write("\n")

    @classmethod
    def load(cls, path: str | Path) -> LatencyPredictor:
        """Reads a file that :meth:`save` wrote.

        Raises:
            UserError: there is none, or it is something else.
        """
        content = read_json(path, "latency predictor", remedy=f"expected a file of fit-latency: {_REMEDY}", nan=True)
        if _HEADER not in content:
            raise UserError(f"{path} is no latency predictor: expected a file that fairseq-mos fit-latency wrote")
        stored = convert(content, _Stored, str(path), _REMEDY)
        if stored.model not in MODELS:
            raise UserError(f"{path}: model is {show(stored.model)}, allowed: {', '.join(MODELS)}")
        numbers = {name: math.nan if value is None else value for name, value in vars(stored.errors).items()}
        return cls(_measurements(stored, path), stored.model, Errors(**numbers))


@dataclass
class _StoredErrors:
    architectures: int
    fitted_to: int
    seed: int
    mape: float | None
    rmse: float | None
    kendall_tau: float | None
    low: float | None
    high: float | None


@dataclass
class _StoredReference:
    architecture: dict
    milliseconds: int | float


@dataclass
class _Stored:
    """A predictor's file."""

    model: str
    features: str
    signature: dict
    space: dict
    # Whole numbers stay whole: the digest tells them apart.
    rows: list[list[int | float]]
    milliseconds: list[int | float]
    errors: _StoredErrors
    reference: _StoredReference | None = None


def _measurements(stored: _Stored, path: str | Path) -> Measurements:
    """Checks what a file says, so that fitting can rely on it."""
    space = SearchSpace.from_dict(stored.space, str(path))
    rows, latencies = stored.rows, stored.milliseconds
    if len(rows) != len(latencies) or len(rows) < 2:
        raise UserError(
            f"{path}: rows and milliseconds have {len(rows)} and {len(latencies)} entries, expected as many, and 2 "
            f"or more: {_REMEDY}"
        )
    width = len(features(stored.features, space, space.largest()))
    for index, (row, value) in enumerate(zip(rows, latencies)):
        if len(row) != width:
            raise UserError(f"{path}: rows[{index}] has {len(row)} values, expected {width} numbers: {_REMEDY}")
        if not all(-_LARGEST <= number <= _LARGEST for number in row):
            raise UserError(f"{path}: rows[{index}] holds a number above {_LARGEST:g}: {_REMEDY}")
        _check_milliseconds(f"milliseconds[{index}]", value, path)
    reference = None
    if stored.reference is not None:
        source = f"{path}: reference.architecture"
        architecture = Architecture.from_dict(stored.reference.architecture, source)
        space.validate(architecture, source)
        _check_milliseconds("reference.milliseconds", stored.reference.milliseconds, path)
        reference = Reference(architecture, stored.reference.milliseconds)
    return Measurements(space, stored.signature, stored.features, rows, latencies, reference)


def _check_milliseconds(name: str, value: float, path: str | Path) -> None:
    try:
        milliseconds(name, value)
    except ValueError as error:
        raise UserError(f"{path}: {error}: {_REMEDY}") from None
