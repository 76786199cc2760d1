"""One run of an example: its settings, and where everything lies in its work folder."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from pipeline import text
from pipeline.commands import printable
from pipeline.commands import run as run_command
from pipeline.config import Config, PipelineError
from pipeline.work import Work

SUBNETS = ("largest", "smallest", "found")
STOCK = "stock transformer"
SCRATCH, RETRAINED = "found, from scratch", "found, retrained"
COPY = "copy of the source"
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
        self.scores_file = self.folder / "scores" / "scores.json"
        self.page = self.folder / "report.html"
        self.names = [*SUBNETS, *retrained, *([STOCK] if config.stock else [])]

    def updates(self, kind: str) -> int:
        """Returns the training updates of one of :data:`pipeline.training.KINDS`."""
        if kind in ("supernet", "retrained"):
            return self.args.updates if kind == "supernet" else self.args.retrain_updates
        # The proportion stays where --updates says another number.
        return self.config.dense(self.args.updates)

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

    def costs_file(self, system: str) -> Path:
        """Returns the file with what `fairseq-mos profile` says of a system."""
        return self.folder / "latency" / f"{slug(system)}.json"

    def command(self, module: str, arguments: list[str], log: str, **options) -> None:
        """Runs a command with the run's log folder and threads."""
        held = [self.work.lock.fileno()]
        run_command(module, arguments, self.work.log(log), self.args.threads, held=held, **options)

    def verb(
        self, arguments: list[str], log: str = "", progress: tuple[str, ...] = (), results: tuple[str, ...] = ()
    ) -> None:
        """Says a verb of fairseq-mos and runs it; passes on its lines of progress now and then, and of results all."""
        self.work.say(printable("fairseq_mos.cli", arguments))
        paced = Paced(self.work.say)

        def show(line: str) -> None:
            if line.startswith(results):
                self.work.say(line.strip())
            elif line.startswith(progress):
                paced(line)

        self.command("fairseq_mos.cli", arguments, log or arguments[0], on_line=show)

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

    def costs(self, system: str) -> dict:
        """Returns what `fairseq-mos profile` has counted and measured."""
        return json.loads(self.costs_file(system).read_text("utf-8"))

    def valid_loss(self, system: str) -> float:
        """Returns a system's loss on the valid set: label-smoothed, bits per token."""
        return json.loads(self.valid_loss_file(system).read_text("utf-8"))["valid_loss"]

    def scores(self) -> dict[str, dict]:
        """Returns what `fairseq-mos evaluate` says: system -> metric -> score."""
        return {row["system"]: row["scores"] for row in json.loads(self.scores_file.read_text("utf-8"))}

    def sentences(self) -> int:
        """Returns how many sentences the test set has."""
        return len(text.read_lines(self.text / f"test.raw.{self.languages[1]}"))

    def hypotheses(self, system: str, pinned: bool = False) -> list[tuple[str, str]]:
        """Returns the translations of the test set without sentencepiece's marks, each with its score as printed."""
        return read_hypotheses(self.translation(system, pinned), self.sentences())


def read_hypotheses(path: Path, number: int) -> list[tuple[str, str]]:
    """Reads what fairseq-generate printed, whose batches are in any order.

    Raises:
        PipelineError: a sentence of the `number` is missing, or there is one too many.
    """
    from fairseq_mos.errors import UserError
    from fairseq_mos.generated import read_generated

    try:
        generated = read_generated(path)
    except UserError as error:
        raise PipelineError(str(error), 1) from error
    found = [(i, text.hypothesis.strip(), text.score) for i, text in generated.items() if text.hypothesis is not None]
    if [index for index, _, _ in found] != list(range(number)):
        raise PipelineError(f"{path} translates {len(found)} sentences, the test set has {number}", 1)
    return [(text, score) for _, text, score in found]


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
