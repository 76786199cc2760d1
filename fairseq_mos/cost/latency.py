"""Latency of a dense model on this machine, by two protocols.

`hat` is the protocol of published tables (HAT, section 4.1 and its code): one sentence, the encoder once, then
a fixed number of incremental decoder steps at beam width. `generate` is real use: fairseq's own beam search on
given sentences, until it ends. In both, the model is an extracted subnet (or stock model) in eval mode, without
autograd: what the published code measured in train mode was another model.
"""

from __future__ import annotations

import itertools
import math
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fairseq_mos.cost.precision import PRECISIONS, prepared
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of_model

PROTOCOLS = ("hat", "generate")


@dataclass(frozen=True)
class LatencySettings:
    """How latency is measured.

    Attributes:
        protocol: `hat` or `generate`.
        device: `cpu` or `cuda`.
        precision: `fp32`; on the CPU also `int8` (dynamic quantisation of linear layers), on a GPU `fp16`, `bf16`.
        threads: CPU threads; None: as many as torch uses now.
        source_tokens: source length of `hat`, with the end-of-sentence symbol.
        target_tokens: decoder steps of `hat`.
        beam: beam width.
        warmup: runs before the timed ones.
        runs: timed runs.
        trim: share of the runs that is dropped at either end for the mean.

    Raises:
        UserError: a value that is not allowed, naming it.
    """

    protocol: str = "hat"
    device: str = "cpu"
    precision: str = "fp32"
    threads: int | None = None
    source_tokens: int = 30
    target_tokens: int = 30
    beam: int = 5
    warmup: int = 5
    runs: int = 50
    trim: float = 0.1

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UserError(f"--protocol is {self.protocol!r}, allowed: {', '.join(PROTOCOLS)}")
        if self.device not in PRECISIONS:
            raise UserError(f"--device is {self.device!r}, allowed: {', '.join(PRECISIONS)}")
        if self.precision not in PRECISIONS[self.device]:
            allowed = ", ".join(PRECISIONS[self.device])
            raise UserError(f"--precision is {self.precision!r}, allowed on {self.device}: {allowed}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device is cuda, but torch sees no GPU here")
        for name, least in (("source_tokens", 1), ("target_tokens", 1), ("beam", 1), ("warmup", 0), ("runs", 4)):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} is {getattr(self, name)}, allowed: {least} or more")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"--threads is {self.threads}, allowed: 1 or more")
        if not 0 <= self.trim < 0.5:
            raise UserError(f"trim is {self.trim}, allowed: 0 up to less than 0.5")

    def signature(self) -> dict[str, object]:
        """Returns all that a latency depends on besides the model; numbers of runs do not belong to it."""
        lengths = {"source_tokens": self.source_tokens, "target_tokens": self.target_tokens}
        return {
            "protocol": self.protocol,
            "device": device_name(self.device),
            "kind": self.device,
            "precision": self.precision,
            "threads": self.threads or torch.get_num_threads(),
            **(lengths if self.protocol == "hat" else {}),
            "beam": self.beam,
            "torch": torch.__version__.split("+")[0],
        }

    @classmethod
    def from_signature(cls, signature: Mapping[str, object], **others) -> LatencySettings:
        """Returns settings with the choices of a signature, on this machine.

        Raises:
            UserError: the signature is none, or asks for what is not here.
        """
        try:
            names = ("protocol", "precision", "threads", "beam")
            values = {name: signature[name] for name in names}
            for name in ("source_tokens", "target_tokens"):
                if name in signature:
                    values[name] = signature[name]
            kind = signature["kind"]
        except KeyError as error:
            raise UserError(f"the latency predictor's signature lacks {error}: fit it anew") from error
        for name, value in {"kind": kind, **values}.items():
            if type(value) is not (str if name in ("kind", "protocol", "precision") else int):
                raise UserError(f"the latency predictor's signature has {name} {value!r}: fit it anew")
        return cls(device=kind, **values, **others)


@dataclass(frozen=True)
class Latency:
    """A measured latency of one sentence, in milliseconds.

    Attributes:
        median_ms: median of the runs (encoder and decoder together).
        low_ms: lower quartile; widened to the medians of both halves where :attr:`drift` is 5 % or more.
        high_ms: upper quartile, widened likewise.
        mean_ms: mean of the runs without the trimmed ends.
        encoder_ms: median of the encoder alone (`hat`, of a model with two sides; else NaN).
        decoder_ms: median of all decoder steps (likewise).
        runs: timed runs.
        drift: relative difference between the trimmed medians of the runs at even and at odd places.
        trend: relative difference between the medians of the last and the first third of the runs.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    mean_ms: float
    encoder_ms: float
    decoder_ms: float
    runs: int
    drift: float
    trend: float

    @classmethod
    def of_runs(
        cls, seconds: Sequence[float], trim: float, encoder: Sequence[float] = (), decoder: Sequence[float] = ()
    ) -> Latency:
        """Summarises timed runs, in seconds."""
        kept = trimmed(seconds, trim)
        quarters = statistics.quantiles(seconds, n=4, method="inclusive")
        halves = [statistics.median(trimmed(seconds[place::2], trim)) for place in (0, 1)]
        drift = abs(halves[1] / halves[0] - 1)
        low, high = quarters[0], quarters[2]
        if drift >= DRIFT:
            low, high = min(low, *halves), max(high, *halves)
        third = max(1, len(seconds) // 3)
        first, last = (statistics.median(part) for part in (seconds[:third], seconds[-third:]))
        if abs(last / first - 1) >= DRIFT:
            low, high = min(low, first, last), max(high, first, last)
        return cls(
            median_ms=1e3 * statistics.median(seconds),
            low_ms=1e3 * low,
            high_ms=1e3 * high,
            mean_ms=1e3 * statistics.fmean(kept),
            encoder_ms=1e3 * statistics.median(encoder) if encoder else math.nan,
            decoder_ms=1e3 * statistics.median(decoder) if decoder else math.nan,
            runs=len(seconds),
            drift=drift,
            trend=last / first - 1,
        )

    def to_dict(self) -> dict[str, float]:
        """Returns plain numbers for JSON; what was not measured is left out."""
        return {name: value for name, value in asdict(self).items() if not math.isnan(value)}


DRIFT = 0.05
"""Relative difference between halves or thirds of the runs from which the machine was not quiet enough."""


def trimmed(values: Sequence[float], trim: float) -> list[float]:
    """Returns the sorted values without the given share at either end."""
    drop = int(len(values) * trim)
    ordered = sorted(values)
    return ordered[drop : len(ordered) - drop]


class LatencyMeter:
    """Measures models.

    Args:
        settings: how.
        sentences: source sentences for `generate`, each a vector of token numbers that ends with
            end-of-sentence.
        seed: of the random tokens that `hat` feeds.

    Raises:
        UserError: `generate` without sentences.
    """

    def __init__(self, settings: LatencySettings, sentences: Sequence[Tensor] = (), seed: int = 1):
        if settings.protocol == "generate" and not len(sentences):
            raise UserError("--protocol generate needs sentences to translate: give --data or --sentences")
        self.settings = replace(settings, threads=settings.threads or torch.get_num_threads())
        self.sentences = sentences
        self.seed = seed

    def measure(self, model: nn.Module, progress: Callable[[], None] | None = None) -> Latency:
        """Measures a model, which is left as it is.

        Args:
            model: an extracted subnet, or a stock fairseq encoder-decoder.
            progress: called after each timed run.
        """
        (parts,) = self.in_turn([model], progress)
        totals = [sum(values) for values in zip(*parts)]
        if self.settings.protocol == "hat":
            sides = dict(zip(("encoder", "decoder"), parts)) if len(parts) == 2 else {}
            return Latency.of_runs(totals, self.settings.trim, **sides)
        return Latency.of_runs([total / len(self.sentences) for total in totals], self.settings.trim)

    def in_turn(
        self, models: Sequence[nn.Module], progress: Callable[[], None] | None = None
    ) -> list[list[list[float]]]:
        """Times models in turn, a run of each after a run of the one before: what slows the machine slows all.

        Args:
            models: as for :meth:`measure`.
            progress: called after each round of timed runs.

        Returns:
            For each model and each of its parts (encoder and decoder, or the whole), seconds of each run.
        """
        settings = self.settings
        with torch.inference_mode():
            dense = [prepared(model, settings.device, settings.precision) for model in models]
            steps = [family_of_model(model).steps(model, settings, self.sentences, self.seed) for model in dense]
            for _ in range(settings.warmup):
                for step in itertools.chain(*steps):
                    step()
            timers = [[_timer(step, settings.threads) for step in parts] for parts in steps]
            seconds: list[list[list[float]]] = [[[] for _ in parts] for parts in steps]
            for _ in range(settings.runs):
                for parts, runs in zip(timers, seconds):
                    for timer, part in zip(parts, runs):
                        # One timed call at a time shows the spread of single runs. Before each, timeit makes two
                        # calls that it does not count.
                        part.append(timer.timeit(1).median)
                if progress is not None:
                    progress()
        return seconds


def _timer(step: Callable[[], object], threads: int):
    from torch.utils.benchmark import Timer

    # It sets the threads, and waits for the GPU.
    return Timer("step()", globals={"step": step}, num_threads=threads)


def device_name(kind: str) -> str:
    """Returns the name of the GPU or of the processor."""
    if kind == "cuda":
        return torch.cuda.get_device_name(0)
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()
