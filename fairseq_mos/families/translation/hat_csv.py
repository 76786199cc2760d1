"""HAT's published latency data sets."""

from __future__ import annotations

import csv

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cost.features import mean_products
from fairseq_mos.cost.milliseconds import milliseconds
from fairseq_mos.cost.predictor import Measurements
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.features import MEAN_NAMES

_LATENCIES = ("latency_mean_encoder", "latency_mean_decoder")
_LARGEST = 1e6  # of a width, a depth, a mean over layers


def read_hat_csv(path: str, space: SearchSpace, device: str) -> Measurements:
    """Reads a data set with HAT's columns; the target is encoder plus decoder.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a value that is no number or an absurd one.
    """
    rows, latencies = [], []
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
                    values = [float(row[name]) for name in MEAN_NAMES]
                    parts = [float(row[name]) for name in _LATENCIES]
                except (TypeError, ValueError):
                    raise UserError(f"{path}: line {number} holds something that is no number") from None
                for name, value in zip(MEAN_NAMES, values):
                    if not 0 <= value <= _LARGEST:
                        raise UserError(f"{path}: line {number}: {name} is {value}, expected 0 to {_LARGEST:g}")
                rows.append(mean_products(space, values))
                try:
                    latencies.append(sum(milliseconds(name, part) for name, part in zip(_LATENCIES, parts)))
                except ValueError as error:
                    raise UserError(f"{path}: line {number}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return Measurements(space, {"protocol": "hat", "device": device}, "mean", rows, latencies)
