"""Units of work: what determines each, and the folder of those that are finished."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from corpora.recipes import RECIPES
from corpora.training import train_flags
from fairseq.models import ARCH_MODEL_REGISTRY
from pipeline.config import CONFIGS, MIXTURE
from pipeline.training import train_arguments

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.reading import compact_json
from fairseq_mos.models.config import NetworkConfig
from reproduce.plan import Plan, Trained, interleaved, parse_flags

REVISION = 1
"""Raised when code changes what the same flags train or what is measured: earlier results then do not count."""

UNSAID = {
    "learning_rate": 3e-3,
    "schedule": "inverse_sqrt",
    "warmup": 200,
    "dense_updates": 0,
    "dropout": 0.1,
    "max_tokens": 2048,
    "supernet": MIXTURE,
    "network": "",
    "average": 1,
}
"""Of an example's recipe where a plan says nothing else, with post-norm: plans outlive an example's own."""

NEUTRAL = {
    *("--user-dir", "--save-dir", "--subnet", "--log-format", "--log-interval", "--num-workers"),
    *("--save-interval-updates", "--keep-interval-updates", "--no-epoch-checkpoints"),
    "--keep-interval-updates-pattern",
    *("--save-interval", "--validate-interval", "--search-space"),
}
"""Flags that do not change what is learned: where files lie, when they are saved, how progress is told.

A space has a digest of its own.
"""


NETWORK = {"--" + field.name.replace("_", "-") for field in fields(NetworkConfig) if not field.name.endswith("dropout")}
"""Flags that say which function the weights are of: a supernet's hold for its subnets, too."""


def digest_of(spec: object) -> str:
    """Returns 16 hexadecimal digits for plain data."""
    return hashlib.sha256(compact_json(spec).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Training:
    """One training: of a supernet, or of a subnet from scratch.

    Attributes:
        method: name in the plan; `scratch`: what others are compared with.
        seed: of everything random.
        updates: how many.
        flags: of fairseq-train, by name; those that depend on the place are added when it runs.
        corpus: digest of the data.
        space: search space.
        architecture: what is trained from scratch; None: a supernet.
        start: the training of a supernet whose weights it begins with; None: it begins anew.
        revision: of the method's code, as the plan names it.
    """

    method: str
    seed: int
    updates: int
    flags: dict[str, list[str]]
    corpus: str
    space: SearchSpace
    architecture: Architecture | None = None
    start: Training | None = None
    revision: str = ""

    @property
    def name(self) -> str:
        """What to call it."""
        which = f" {self.architecture.digest()}" if self.architecture else ""
        return f"{self.method}{which}, seed {self.seed}, {self.updates:,} updates"

    @property
    def spec(self) -> dict:
        """What determines its outcome."""
        flags = {name: values for name, values in self.flags.items() if name not in NEUTRAL}
        shape = {"space": self.space.digest()}
        if self.architecture:
            shape = {"architecture": self.architecture.digest()}
        if self.start:
            shape["after"] = self.start.digest
        if self.revision:
            shape["code"] = self.revision
        return {"kind": "training", "revision": REVISION, "corpus": self.corpus, "flags": flags, **shape}

    @property
    def digest(self) -> str:
        """Of :attr:`spec`."""
        return digest_of(self.spec)


@dataclass(frozen=True, kw_only=True)
class Retrained(Training):
    """A training that starts from what a subnet inherits; its measurement is its own valid loss.

    Attributes:
        source: training of the supernet.
        variant: name in the plan.
    """

    source: Training
    variant: str

    @property
    def name(self) -> str:
        return f"{self.source.method}: {super().name}"

    @property
    def spec(self) -> dict:
        return {**super().spec, "kind": "retraining", "of": self.source.digest}

    @property
    def training(self) -> Training:
        """Itself: what is trained, as of a :class:`Job`."""
        return self


@dataclass(frozen=True)
class Job:
    """A training and the measurement of its architectures.

    Attributes:
        training: the training.
        architectures: those that are measured.
        scores: whether BLEU and chrF are measured, too.
        beam: for these.
    """

    training: Training
    architectures: tuple[Architecture, ...]
    scores: bool
    beam: int

    @property
    def name(self) -> str:
        """What to call it."""
        return self.training.name

    @property
    def spec(self) -> dict:
        """What determines the measured values."""
        how = {"valid": "valid", "test": "test", "beam": self.beam} if self.scores else {"valid": "valid"}
        wanted = [one.digest() for one in self.architectures]
        return {"kind": "measurement", "revision": REVISION, "of": self.training.digest, "on": wanted, **how}

    @property
    def digest(self) -> str:
        """Of :attr:`spec`."""
        return digest_of(self.spec)


@dataclass(frozen=True)
class Conflict:
    """A measurement of gradient conflict at one update of a supernet's training; it has no training of its own.

    Attributes:
        training: of the supernet.
        update: after which its checkpoint is measured.
        architectures: whose gradients are compared.
        batches: of the valid split.
    """

    training: Training
    update: int
    architectures: tuple[Architecture, ...]
    batches: int

    @property
    def name(self) -> str:
        """What to call it."""
        return f"gradient conflict of {self.training.name}, at update {self.update:,}"

    @property
    def spec(self) -> dict:
        """What determines the measured values."""
        wanted = [one.digest() for one in self.architectures]
        spec = {"kind": "conflict", "revision": REVISION, "of": self.training.digest, "update": self.update}
        return {**spec, "on": wanted, "batches": self.batches}

    @property
    def digest(self) -> str:
        """Of :attr:`spec`."""
        return digest_of(self.spec)


Unit = Job | Retrained | Conflict
"""What a run does."""


def jobs_of(plan: Plan, architectures: Sequence[Architecture], corpus: str) -> list[Job]:
    """Returns all jobs of a plan, most informative first.

    First seeds before second ones, and from scratch first, of architectures of all costs: a table has a row for
    everything early, and what is measured early is no part of the range alone.

    Args:
        plan: the plan.
        architectures: drawn for it.
        corpus: digest of the data.
    """
    space = SearchSpace.load(plan.space)
    scores = not {"bleu", "chrf"}.isdisjoint(plan.metrics)
    found = []

    def training_of(name: str, part: Trained, seed: int, subnet: Architecture | None = None) -> Training:
        flags = flags_of(plan, part, seed, "scratch" if subnet else "supernet")
        start = training_of(part.after, plan.methods[part.after], seed) if part.after else None
        return Training(name, seed, part.updates or plan.updates, flags, corpus, space, subnet, start, part.revision)

    def add(name: str, part: Trained, seed: int, subnet: Architecture | None = None) -> None:
        measured = (subnet,) if subnet else tuple(architectures)
        found.append(Job(training_of(name, part, seed, subnet), measured, scores, plan.beam))

    mixed = interleaved(architectures)
    for place in range(max(len(part.seeds) for part in (plan.scratch, *plan.methods.values()))):
        for name, part in [("scratch", plan.scratch), *plan.methods.items()]:
            for seed in part.seeds[place : place + 1]:
                for subnet in mixed if part is plan.scratch or part.from_scratch else [None]:
                    add(name, part, seed, subnet)
    return found


def flags_of(plan: Plan, part: Trained, seed: int, kind: str) -> dict[str, list[str]]:
    """Returns the flags of a training: the recipe's, the plan's over them, and the method's over these.

    Args:
        plan: the plan.
        part: the method, or training from scratch.
        seed: of the training.
        kind: `supernet`, `scratch` or `retrained`.
    """
    updates = part.updates or plan.updates
    languages = (plan.corpus.source, plan.corpus.target)
    arch = plan.arch or f"mos_transformer_{plan.space}"
    if plan.recipe in CONFIGS:
        space = arch.removeprefix("mos_transformer_")
        config = replace(CONFIGS[plan.recipe], space=space, **UNSAID)
        places = {"subnet": Path("SUBNET"), "weights": Path("WEIGHTS")}
        words = train_arguments(config, Path("DATA"), Path("SAVE"), languages, updates, seed, kind, **places)
    else:
        assert plan.recipe in RECIPES
        # One GPU a training: several run side by side.
        stage = {"retrained": "retrain"}.get(kind, kind)
        words = train_flags(plan.recipe, stage, "DATA", "SAVE", 1, user_dir="fairseq_mos", weights="WEIGHTS")
        own = {"--arch": arch} if kind == "supernet" else {}
        if kind == "retrained":
            # Its warm-up is for the recipe's many updates.
            own["--warmup-updates"] = min(int(words[words.index("--warmup-updates") + 1]), max(1, updates // 2))
        own |= {"--max-update": updates, "--seed": seed, "--keep-interval-updates": 1, "--log-format": "json"}
        own |= dict(zip(("--source-lang", "--target-lang"), languages))
        words += [str(word) for item in own.items() for word in item]
    # What the plan says replaces what the recipe says.
    found = parse_flags([shlex.join(words[1:]), *plan.flags, *part.flags])
    if kind == "supernet" and not (plan.arch or arch in ARCH_MODEL_REGISTRY):
        # A space without a named architecture, which would share embeddings as the recipes' subnets do.
        found |= {"--arch": ["mos_transformer"], "--search-space": [plan.space]}
        found |= {"--share-all-embeddings": []} if plan.recipe in CONFIGS else {}
    if found.get("--routing") == ["shared"]:
        found["--num-experts"] = ["1"]
    return found


def command_line(
    training: Training, data: Path, save_dir: Path, subnet: Path, start: Path | None = None
) -> list[str]:
    """Returns the arguments of fairseq-train.

    Args:
        training: what is trained.
        data: binarised data.
        save_dir: folder for checkpoints.
        subnet: file of the architecture, of a subnet; inherited weights are beside it, see :func:`weights_of`.
        start: checkpoint whose weights a supernet begins with.
    """
    flags = training.flags | {"--save-dir": [str(save_dir)]}
    if training.architecture:
        flags["--subnet"] = [str(subnet)]
    if isinstance(training, Retrained):
        flags["--finetune-from-model"] = [str(weights_of(subnet.parent))]
    if start:
        flags["--finetune-from-model"] = [str(start)]
    return [str(data), *(word for name, values in flags.items() for word in (name, *values))]


def weights_of(folder: Path) -> Path:
    """Returns where the weights lie that a retraining in a folder starts from."""
    return folder / "inherited" / "model.pt"
