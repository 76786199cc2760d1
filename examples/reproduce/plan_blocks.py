"""The blocks of a plan, checked field by field while they are read."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Updates = Annotated[int, Meta(ge=1, le=10**9)]
Seeds = Annotated[list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(min_length=1)]


class Strict(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A mapping of the plan."""


class Corpus(Strict):
    """The data.

    Attributes:
        kind: `quickstart` and `multi30k` are prepared as those examples do it; `folder` is what fairseq-preprocess
            wrote, or the `data-bin` of a prepare.sh.
        data: its folder; for `quickstart` raw text instead of the built-in corpus.
        source: source language.
        target: target language.
        vocabulary: subwords; 0: as in the example.
    """

    kind: Literal["quickstart", "multi30k", "folder"]
    data: str = ""
    source: str = "en"
    target: str = "de"
    vocabulary: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Draw(Strict):
    """The architectures that are compared, drawn before anything is trained.

    Attributes:
        number: how many.
        strata: intervals of FLOPs, equally likely in a uniform draw from the space; each gives as many.
        seed: of the draw.
    """

    number: Annotated[int, Meta(ge=2, le=10_000)] = 15
    strata: Annotated[int, Meta(ge=1, le=100)] = 5
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1


class Trained(Strict):
    """A method, or training from scratch.

    Attributes:
        seeds: a training for each (from scratch: of every architecture).
        flags: of fairseq-train, over the plan's own.
        updates: instead of the plan's.
        after: of a method: another one, whose supernet of the same seed hands on its weights.
        from_scratch: of a method: every architecture is trained by itself, as others are from scratch, with its flags.
        revision: any text; with another one its trainings are new ones. Digests know flags and data, not your code.
    """

    seeds: Seeds
    flags: list[str] = []
    updates: Updates | None = None
    after: str = ""
    from_scratch: bool = False
    revision: str = ""


class Retraining(Strict):
    """Training on from inherited weights; without variants there is none.

    Attributes:
        updates: of each.
        seeds: those of the supernets whose subnets are retrained, with the same seed.
        validate_every: updates between two points of the curve.
        variants: name -> flags of fairseq-train, over the plan's own.
        architectures: how many of the drawn ones, evenly over the strata.
    """

    updates: Updates = 200
    seeds: Seeds = field(default_factory=lambda: [1])
    validate_every: Updates = 20
    variants: dict[str, list[str]] = {}
    architectures: Annotated[int, Meta(ge=1, le=10_000)] = 5


class Conflicts(Strict):
    """Gradient conflict between subnets, over a supernet's training; without methods none is measured.

    Attributes:
        methods: of the plan, whose first seeds are measured.
        points: equally far apart, of each training; the last is its end.
        batches: of the valid split.
        architectures: how many of the drawn ones, evenly over the strata.
    """

    methods: list[str] = []
    points: Annotated[int, Meta(ge=1, le=1000)] = 5
    batches: Annotated[int, Meta(ge=1, le=10_000)] = 4
    architectures: Annotated[int, Meta(ge=2, le=1000)] = 5


DRAWN = "drawn"
"""Name of the largest of the drawn architectures."""


class Matched(Strict):
    """Dense models, trained for the FLOPs of all that a supernet needs; without methods there is none.

    Attributes:
        methods: of the plan, whose supernets, of their first seeds, count.
        architecture: what is trained: `drawn`, or what `fairseq-mos` takes: `largest`, a YAML file and so on.
        evaluations: of a search, each over the whole valid split.
        retraining: updates of the subnet that the search finds, which counts as that architecture.
        seeds: a training for each.
    """

    methods: list[str] = []
    architecture: str = DRAWN
    evaluations: Annotated[int, Meta(ge=0, le=10**9)] = 0
    retraining: Annotated[int, Meta(ge=0, le=10**9)] = 0
    seeds: Seeds = field(default_factory=lambda: [1])


Metric = Literal["loss", "nll_loss", "bleu", "chrf"]


class Claim(Strict):
    """What the results are asked: see :mod:`reproduce.claims` for the rule.

    Attributes:
        claim: in words.
        method: what it is about.
        by: the mean absolute gap, or what inherited weights lack where they are worse, claimed to be small; a tau or
            the updates that retraining saves, to be large.
        than: the method that is compared with; none: what should be small is compared with the noise floor, others
            with `at_least`.
        at_least: see above.
        variant: of retraining.
        metrics: a verdict in each.
    """

    claim: str
    method: str
    by: Literal["absolute_gap", "shortfall", "tau", "tau_strata", "saved_percent"] = "absolute_gap"
    than: str = ""
    at_least: float = 0.0
    variant: str = ""
    metrics: list[Metric] = field(default_factory=lambda: ["loss"])
