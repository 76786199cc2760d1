"""One run of the example: its dense models, and where everything lies in its work folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands
from pipeline.work import Work

from bert import text
from bert.arguments import SHARED, SUBNETS


@dataclass(frozen=True)
class System:
    """A dense model of the table.

    Attributes:
        subnet: one of :data:`bert.arguments.SUBNETS`.
        origin: the routing of the supernet that it was extracted from, or `scratch`.
        seed: of that training.
    """

    subnet: str
    origin: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.subnet}-{self.origin}-{self.seed}"


class Run:
    """One run: its flags, its folder and its commands.

    Args:
        args: the parsed flags.
    """

    def __init__(self, args: argparse.Namespace):
        self.args, self.folder = args, args.output
        self.files = text.files_of(args.text, SHARED)
        self.work = Work(args.output, 8 if args.tasks else 7)
        self.data, self.model = self.folder / "data", self.folder / "vocabulary" / "sentencepiece.model"
        self.search = self.folder / "search"

    def command(self, module: str, arguments: list[str], log: str, **options) -> None:
        """Runs a command with the run's log folder and threads."""
        held = [self.work.lock.fileno()]
        commands.run(module, arguments, self.work.log(log), self.args.threads, held=held, **options)

    def supernet(self, routing: str, seed: int) -> Path:
        """Returns a supernet's folder."""
        return self.folder / "supernets" / f"{routing}-{seed}"

    def architecture(self, subnet: str) -> Path:
        """Returns a subnet's YAML file."""
        return self.search / "best.yaml" if subnet == "found" else self.folder / "architectures" / f"{subnet}.yaml"

    def systems(self) -> Iterator[System]:
        """Yields the dense models of the table."""
        for seed in self.args.seeds:
            for subnet in SUBNETS:
                yield from (System(subnet, routing, seed) for routing in self.args.routings)
                if subnet in self.args.scratch:
                    yield System(subnet, "scratch", seed)

    def checkpoint(self, system: System) -> Path:
        """Returns a dense model's checkpoint."""
        folder = self.folder / "subnets" / system.name
        return folder / ("checkpoints/checkpoint_last.pt" if system.origin == "scratch" else "subnet.pt")

    def loss_file(self, system: System) -> Path:
        """Returns the file with a system's loss."""
        return self.folder / "losses" / f"{system.name}.json"

    def origin_token(self, system: System) -> str:
        """Returns what identifies a dense model."""
        return self.work.token(("train-" if system.origin == "scratch" else "extract-") + system.name)
