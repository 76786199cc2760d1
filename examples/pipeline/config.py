"""What the examples share and where they differ. Standard library only: `--help` needs nothing else."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent
ROOT = EXAMPLES.parent


MIXTURE = "--routing neuron --num-experts 2"
"""The paper's own method: every output neuron mixes two experts."""


class PipelineError(ValueError):
    """The pipeline cannot go on; the message is one line.

    Args:
        message: what is wrong, naming file, flag and values.
        code: exit code; 2 for bad input, 1 for a failure.
    """

    def __init__(self, message: str, code: int = 2):
        super().__init__(message)
        self.code = code


def named(argv: list[str] | None, names: Collection[str], module: str) -> list[str] | None:
    """Returns a command line (the process's own by default) that begins with one of the names; None after saying so."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in names:
        return argv
    print(f"usage: python -m {module} {{{','.join(names)}}} FLAGS...", file=sys.stderr)
    return None


def guarded(script: str, action: Callable[[], object]) -> int:
    """Runs an example, and reports what stops it in one line.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad input.
    """
    sys.path.insert(0, str(ROOT))
    # Importing fairseq lets the debug messages of every library through.
    logging.disable(logging.INFO)
    # So that a command that is running ends with the pipeline.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        action()
        return 0
    except PipelineError as error:
        print(f"{script}: error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130


@dataclass(frozen=True)
class Config:
    """One example.

    Attributes:
        name: folder below `examples/`.
        title: what `--help` opens with.
        space: search space; its supernet is `--arch mos_transformer_SPACE`.
        data_flag: the flag that names a folder of raw text.
        data_help: its help.
        builtin_targets: target languages of the corpus that needs no folder; empty: a folder is needed.
        default_data: folder to take when the flag is not given and it exists.
        splits: split -> file names (without language) that may hold it, in order of preference.
        vocabulary: entries of the joint sentencepiece vocabulary.
        updates: training updates of the supernet.
        dense_updates: those of the stock model and of training from scratch, with a warm-up in proportion; 0: as
            many.
        learning_rate: peak of the schedule.
        schedule: how it falls from there, by fairseq's `--lr-scheduler`; `cosine`: to 0 with the last update.
        warmup: updates of warm-up of the supernet.
        dropout: of the largest architecture.
        label_smoothing: epsilon.
        max_tokens: tokens per batch in training and validation.
        saves: checkpoints written in a training run.
        average: how many of the last of these are averaged; 1 takes the last as it is.
        stock: fairseq-train flags of a stock model that is trained beside the supernet; empty: none.
        retrain_updates: updates in which the found subnet is retrained; 0: it is neither retrained nor trained from
            scratch.
        retrain_learning_rate: peak of its schedule.
        retrain_warmup: its updates of warm-up.
        budget: architectures that the search evaluates.
        latency_samples: architectures whose latency is measured, to fit the predictor.
        latency_runs: timed runs of each, in each pass.
        latency_passes: how often all of them are measured; the lowest median counts.
        profile_runs: timed runs of each system that is compared.
        latency_fraction: the search's limit, from 0 (latency of the smallest architecture) to 1 (largest).
        beam: beam size.
        generate_max_tokens: tokens per batch in generation.
        pinned: which systems are also translated by the supernet with that architecture pinned.
        supernet: fairseq-train flags of the supernet, over those that all kinds of models share.
        network: further ones that its subnets need too where they are trained by themselves, and the stock model.
        about: stage -> rough duration on 2 CPU cores, for the announcements.
    """

    name: str
    title: str
    space: str
    data_flag: str
    data_help: str
    builtin_targets: tuple[str, ...]
    vocabulary: int
    updates: int
    learning_rate: float
    schedule: str
    warmup: int
    dropout: float
    saves: int
    average: int
    budget: int
    pinned: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]
    default_data: Path | None = None
    stock: str = ""
    dense_updates: int = 0
    retrain_updates: int = 0
    retrain_learning_rate: float = 1e-3
    retrain_warmup: int = 100
    label_smoothing: float = 0.1
    max_tokens: int = 4096
    latency_samples: int = 60
    latency_runs: int = 8
    latency_passes: int = 1
    profile_runs: int = 100
    latency_fraction: float = 0.5
    beam: int = 5
    generate_max_tokens: int = 4096
    supernet: str = MIXTURE
    network: str = ""
    about: dict[str, str] = field(default_factory=dict)

    @property
    def supernet_flags(self) -> list[str]:
        """What a supernet's command line has over those of the other kinds."""
        return [*self.supernet.split(), *self.network.split()]

    def dense(self, updates: int) -> int:
        """Returns how many updates dense models have in place of so many of the supernet, of warm-up too; 1 or more."""
        return max(1, updates * (self.dense_updates or self.updates) // self.updates)

    @property
    def folder(self) -> Path:
        """The example's own folder."""
        return EXAMPLES / self.name


QUICKSTART = Config(
    name="quickstart",
    title="Train a tiny supernet, search it, extract subnets, translate and score: minutes on 2 CPU cores.",
    space="tiny",
    data_flag="--corpus",
    data_help="folder with train, valid and test, each as NAME.LANGUAGE or NAME.LANGUAGE.gz, one sentence a "
    "line (default: a corpus composed from the Unicode CLDR data in the Babel package)",
    builtin_targets=("de", "fr"),
    splits={"train": ("train",), "valid": ("valid",), "test": ("test",)},
    vocabulary=2000,
    # With `supernet` and `network`: the best recipe of docs/evidence.md, for two thirds of its updates.
    updates=4000,
    learning_rate=6e-3,
    schedule="cosine",
    warmup=1200,
    dropout=0.0,
    max_tokens=341,
    saves=10,
    # The rate ends at 0.
    average=1,
    # With racing, four in a second: a minute.
    budget=240,
    # A machine that people also work on changes its speed for seconds to minutes.
    latency_runs=4,
    latency_passes=3,
    # A decoder layer costs much time, and much quality: subnets with all three begin at about 0.77 of the range.
    latency_fraction=0.9,
    pinned=("found",),
    # Largest, smallest and random ones have a third each of what a subnet's update would have.
    supernet=f"{MIXTURE} --arch-own-batches --update-freq 3",
    network="--encoder-normalize-before --decoder-normalize-before",
    about={"train": "7 min", "latency": "2 min", "search": "3 min", "translate": "1 min"},
)

MULTI30K = Config(
    name="multi30k",
    title="Multi30k: a supernet's subnets beside fairseq's stock Transformer of the largest one's size.",
    space="multi30k",
    data_flag="--data",
    data_help="folder with train, val and test_2016_flickr, each as NAME.LANGUAGE.gz (as published) or "
    "NAME.LANGUAGE, one sentence a line",
    builtin_targets=(),
    default_data=ROOT.parent / "shared" / "data" / "multi30k",
    splits={"train": ("train",), "valid": ("val", "valid"), "test": ("test_2016_flickr", "test")},
    vocabulary=4000,
    # Three architectures with a third of a dense model's tokens each, for three times the updates: docs/evidence.md.
    updates=6000,
    dense_updates=2000,
    learning_rate=6e-3,
    schedule="cosine",
    warmup=1800,
    dropout=0.0,
    max_tokens=1024,
    saves=25,
    # The rate ends at 0.
    average=1,
    supernet=f"{MIXTURE} --arch-own-batches --update-freq 3 --max-tokens 341",
    network="--encoder-normalize-before --decoder-normalize-before",
    stock="--arch transformer --share-all-embeddings "
    "--encoder-embed-dim 128 --encoder-ffn-embed-dim 512 --encoder-layers 3 --encoder-attention-heads 4 "
    "--decoder-embed-dim 128 --decoder-ffn-embed-dim 512 --decoder-layers 3 --decoder-attention-heads 4",
    retrain_updates=1000,
    budget=100,
    latency_samples=150,
    pinned=("largest", "smallest", "found"),
    about={"train": "35 min", "stock": "15 min", "latency": "5 min", "search": "3 min", "retrain": "20 min",
           "translate": "1 min"},  # fmt: skip
)

CONFIGS = {config.name: config for config in (QUICKSTART, MULTI30K)}
