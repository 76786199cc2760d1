"""A model's latency relative to a reference, timed in turn: what slows the machine for a while slows both."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from fairseq_mos.cost.latency import LatencyMeter


@dataclass(frozen=True)
class Comparison:
    """Two models that were timed in turn, a run of one after a run of the other.

    Attributes:
        model_ms: median of the model's runs.
        reference_ms: median of the reference's runs.
        ratio: median over the pairs of runs of the model's time by the reference's.
        low: the ratios' lower quartile.
        high: their upper quartile.
    """

    model_ms: float
    reference_ms: float
    ratio: float
    low: float
    high: float

    @classmethod
    def of_runs(cls, model: Sequence[float], reference: Sequence[float]) -> Comparison:
        """Summarises timed runs, in seconds, that were taken in pairs."""
        ratios = [there / here for there, here in zip(model, reference)]
        low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(1e3 * statistics.median(model), 1e3 * statistics.median(reference), ratio, low, high)

    def values(self, recorded_ms: float) -> dict[str, float]:
        """Returns the latency that the model has where the reference has the recorded one, in milliseconds.

        Returns:
            `latency_ms` and its quartiles `low_ms` and `high_ms`; as clocked, `clocked_ms` and `reference_ms`; and
            `recorded_ms`.
        """
        return {
            "latency_ms": self.ratio * recorded_ms,
            "low_ms": self.low * recorded_ms,
            "high_ms": self.high * recorded_ms,
            "clocked_ms": self.model_ms,
            "reference_ms": self.reference_ms,
            "recorded_ms": recorded_ms,
        }


def compare(meter: LatencyMeter, model: nn.Module, reference: nn.Module) -> Comparison:
    """Times a model and a reference in turn."""
    seconds = [[sum(parts) for parts in zip(*found)] for found in meter.in_turn([model, reference])]
    return Comparison.of_runs(*seconds)
