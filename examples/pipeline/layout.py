"""One run of an example: its settings, and where everything lies in its work folder."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from pipeline import systems, text
from pipeline.commands import run as run_command
from pipeline.config import Config
from pipeline.scoring import read_hypotheses
from pipeline.work import Work

STOCK = "stock transformer"
SCRATCH, RETRAINED = "found, from scratch", "found, retrained"
KINDS = {STOCK: "stock", SCRATCH: "scratch", RETRAINED: "retrained"}
"""System that is trained by itself -> what training calls it."""


class Run:
    """What all stages share.

    Args:
        config: the example.
        args: its parsed flags.

    Raises:
        PipelineError: a file of the corpus is missing, or the work folder cannot be used.
    """

    def __init__(self, config: Config, args: argparse.Namespace):
        self.config = config
        self.args = args
        self.languages = (args.source_lang, args.target_lang)
        self.folder: Path = args.output
        # A missing file should show before the folder is made.
        self.corpus = text.find_corpus(args.data, config, *self.languages) if args.data else None
        retrained = [SCRATCH, RETRAINED] if args.retrain_updates else []
        self.work = Work(args.output, 11 + bool(config.stock) + bool(retrained))
        self.text = self.folder / "text"
        self.model = self.folder / "vocabulary" / "joint.model"
        self.data = self.folder / "data"
        self.supernet = self.averaged("supernet")
        self.search_dir = self.folder / "search"
        self.measurements = self.folder / "latency" / "measurements.jsonl"
        self.predictor = self.folder / "latency" / "predictor.json"
        self.names = [*systems.SUBNETS, *retrained, *([STOCK] if config.stock else [])]

    def averaged(self, kind: str) -> Path:
        """Returns the checkpoint of what was trained: one of :data:`pipeline.training.KINDS`."""
        return self.folder / kind / "averaged.pt"

    def checkpoint(self, system: str) -> Path:
        """Returns the dense checkpoint of a system."""
        return self.averaged(KINDS[system]) if system in KINDS else self.folder / "subnets" / system / "subnet.pt"

    def architecture_file(self, subnet: str) -> Path:
        """Returns the YAML file of a subnet."""
        if subnet in ("found", SCRATCH, RETRAINED):
            return self.search_dir / "best.yaml"
        return self.folder / "subnets" / f"{subnet}.yaml"

    def translation(self, system: str, pinned: bool = False) -> Path:
        """Returns the file with what fairseq-generate printed."""
        return self.folder / "translations" / f"{'pinned-' if pinned else ''}{slug(system)}.txt"

    def valid_loss_file(self, system: str) -> Path:
        """Returns the file with a system's loss on the valid set."""
        return self.folder / "valid" / f"{slug(system)}.json"

    def command(self, module: str, arguments: list[str], log: str, **options) -> None:
        """Runs a command with the run's log folder and threads."""
        held = [self.work.lock.fileno()]
        run_command(module, arguments, self.work.log(log), self.args.threads, held=held, **options)

    def space(self):
        """Returns the search space."""
        from fairseq_mos.arch import SearchSpace

        return SearchSpace.load(self.config.space)

    @cached_property
    def latency_limit(self) -> float:
        """The search's limit in milliseconds, between the smallest and the largest architecture.

        Known once the predictor is there, which is fitted anew whenever it is loaded. Rounded up to hundredths,
        so that the smallest one always keeps it.
        """
        from fairseq_mos.cost.predictor import LatencyPredictor

        space = self.space()
        predictor = LatencyPredictor.load(self.predictor)
        smallest, largest = predictor.predict([space.smallest(), space.largest()])
        return math.ceil(100 * (smallest + self.args.latency_fraction * (largest - smallest))) / 100

    def latency_file(self, system: str) -> Path:
        """Returns the file with a system's measured latency."""
        return self.folder / "latency" / f"{slug(system)}.json"

    def latency(self, system: str) -> dict[str, float]:
        """Returns a system's measured latency: `median_ms`, and its quartiles `low_ms` and `high_ms`."""
        row = json.loads(self.latency_file(system).read_text("utf-8"))
        return {name: row[name] for name in ("median_ms", "low_ms", "high_ms")}

    def valid_loss(self, system: str) -> float:
        """Returns a system's loss on the valid set: label-smoothed, bits per token."""
        return json.loads(self.valid_loss_file(system).read_text("utf-8"))["valid_loss"]

    def references(self) -> list[str]:
        """Returns the raw references."""
        return text.read_lines(self.text / f"test.raw.{self.languages[1]}")

    def hypotheses(self, system: str, pinned: bool = False) -> list[tuple[str, str]]:
        """Returns the translations of the test set with their scores."""
        return read_hypotheses(self.translation(system, pinned), len(self.references()))


class Paced:
    """Passes on a line every few seconds at most; the first ones start the clock.

    Args:
        say: prints a line.
        every: seconds.
    """

    def __init__(self, say: Callable[[str], None], every: float = 5.0):
        self.say = say
        self.every = every
        self._last: float | None = None

    def __call__(self, line: str) -> None:
        """Takes a line."""
        now = time.monotonic()
        if self._last is None:
            self._last = now
        if line.strip() and now - self._last >= self.every:
            self._last = now
            self.say(line.strip()[:160])


def slug(system: str) -> str:
    """Returns a system's name as part of a file name."""
    return system.replace(",", "").replace(" ", "-")
