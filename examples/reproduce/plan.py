"""A plan: what is trained and measured, read from YAML; and the draw of its architectures."""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.documents import convert, read_yaml
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from reproduce.plan_blocks import Claim, Conflicts, Corpus, Draw, Matched, Metric, Retraining, Strict, Trained, Updates

POOL = 4000
"""Random architectures whose quantiles of FLOPs bound the strata."""

OWN = (
    *("--seed", "--max-update", "--max-epoch", "--stop-time-hours", "--save-dir", "--restore-file", "--user-dir"),
    *("--finetune-from-model", "--subnet", "--architecture", "--search-space", "--source-lang", "--target-lang"),
    *("--task", "--arch", "--log-file", "--log-format", "--distributed-world-size"),
)
"""Flags that the runner sets itself, or that a unit's digest could not tell apart."""


class Plan(Strict):
    """A plan.

    Attributes:
        corpus: the data.
        recipe: whose hyper-parameters: those of an example with a run.sh, or published ones.
        space: search space: a shipped one's name or a YAML file.
        arch: named architecture of the supernet; by default the space's, or `mos_transformer` where it has none.
        updates: of every training.
        flags: of fairseq-train, for all trainings, over the recipe's.
        architectures: how they are drawn.
        scratch: training from scratch.
        methods: name -> how a supernet is trained.
        metrics: what is compared; `loss` is label-smoothed, as everywhere in this project, `nll_loss` is not.
        beam: beam size for BLEU and chrF.
        retraining: how subnets are trained on from the weights that they inherit.
        conflicts: where gradients of subnets are compared.
        claims: what the results are asked.
        compute_matched: dense models for the FLOPs of supernet, search and retraining.
    """

    corpus: Corpus
    space: str
    updates: Updates
    scratch: Trained
    methods: dict[str, Trained]
    metrics: Annotated[list[Metric], Meta(min_length=1)]
    recipe: Literal["quickstart", "multi30k", "wmt14_en_de", "wmt14_en_fr", "wmt19_en_de", "iwslt14_de_en"] = (
        "quickstart"
    )
    arch: str = ""
    flags: list[str] = []
    architectures: Draw = Draw()
    beam: Annotated[int, Meta(ge=1, le=1000)] = 5
    retraining: Retraining = Retraining()
    conflicts: Conflicts = Conflicts()
    compute_matched: Matched = Matched()
    claims: list[Claim] = []


def read_plan(path: Path) -> Plan:
    """Reads a plan.

    Raises:
        UserError: names the file and the field.
    """
    plan = convert(read_yaml(path, "plan"), Plan, str(path))
    family = SearchSpace.load(plan.space).schema.family
    if family != "translation":
        raise UserError(f"{path}: space {plan.space} is of family {family}, allowed: translation")
    if plan.architectures.number < plan.architectures.strata:
        raise UserError(
            f"{path}: architectures.number is {plan.architectures.number}, allowed: architectures.strata or more, "
            f"which is {plan.architectures.strata}"
        )
    parts = {"scratch": plan.scratch, **{f"methods.{name}": method for name, method in plan.methods.items()}}
    supernets = [name for name, method in plan.methods.items() if not method.from_scratch]
    again = plan.retraining
    for name, part, used in (
        ("retraining", again, again.variants),
        ("conflicts", plan.conflicts, plan.conflicts.methods),
    ):
        if used and part.architectures > plan.architectures.number:
            raise UserError(
                f"{path}: {name}.architectures is {part.architectures}, allowed: architectures.number at most, "
                f"which is {plan.architectures.number}"
            )
    if plan.scratch.from_scratch:
        raise UserError(f"{path}: scratch.from_scratch is of methods alone")
    for name, part in parts.items():
        check_start(plan, part, f"{path}: {name}")
    for place, claim in enumerate(plan.claims):
        check_claim(plan, claim, f"{path}: claims[{place}]")
    for block in ("conflicts", "compute_matched"):
        for name in getattr(plan, block).methods:
            if name not in supernets:
                raise UserError(f"{path}: {block}.methods holds {name}, allowed: {', '.join(supernets)}")
    if again.variants and not {"loss", "nll_loss"}.intersection(plan.metrics):
        raise UserError(f"{path}: retraining is told by losses: metrics needs loss or nll_loss")
    for name, part in {**parts, "retraining": again, "compute_matched": plan.compute_matched}.items():
        if len(set(part.seeds)) < len(part.seeds):
            raise UserError(f"{path}: {name}.seeds holds a seed twice")
        if not name.removeprefix("methods."):
            raise UserError(f"{path}: methods holds one without a name")
    all_flags = {"flags": plan.flags, **{f"{name}.flags": part.flags for name, part in parts.items()}}
    all_flags |= {f"retraining.variants.{name}": flags for name, flags in again.variants.items()}
    for name, flags in all_flags.items():
        for flag in parse_flags(flags, f"{path}: {name}"):
            if flag in OWN:
                raise UserError(f"{path}: {name} holds {flag}, which the runner sets itself")
    return plan


def check_start(plan: Plan, part: Trained, source: str) -> None:
    """Checks that what hands on weights to a training is a training of the plan that begins anew.

    Raises:
        UserError: names the field.
    """
    if not part.after:
        return
    others = {} if part is plan.scratch or part.from_scratch else plan.methods
    allowed = [name for name, method in others.items() if not (method.after or method.from_scratch)]
    if part.after not in allowed:
        raise UserError(f"{source}.after: {part.after!r}, allowed: {', '.join(map(repr, allowed)) or 'none'}")
    seeds = plan.methods[part.after].seeds
    for seed in part.seeds:
        if seed not in seeds:
            given = ", ".join(map(str, seeds))
            raise UserError(f"{source}.seeds holds {seed}, allowed: those of methods.{part.after}, {given}")


def check_claim(plan: Plan, claim: Claim, source: str) -> None:
    """Checks that a plan's results can answer a claim.

    Raises:
        UserError: names the field.
    """
    allowed = {"metrics": plan.metrics, "method": plan.methods, "than": ("", *plan.methods)}
    allowed["variant"] = plan.retraining.variants if claim.by == "saved_percent" else ("",)
    if claim.by == "saved_percent":
        allowed["metrics"], allowed["than"] = ("loss", "nll_loss"), ("",)
    for name, values in allowed.items():
        given = getattr(claim, name)
        for value in given if name == "metrics" else [given]:
            if value not in values:
                raise UserError(f"{source}.{name}: {value!r}, allowed: {', '.join(map(repr, values)) or 'none'}")


def parse_flags(flags: list[str], source: str = "flags") -> dict[str, list[str]]:
    """Returns flags of a command line by name, each with its values; of one that is there twice the last counts.

    Args:
        flags: each a flag with its values, as typed in a shell.
        source: what to call them in messages.

    Raises:
        UserError: a value without a flag, or an open quotation.
    """
    found: dict[str, list[str]] = {}
    for text in flags:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UserError(f"{source} holds {text!r}: {error}") from None
        if not words or not words[0].startswith("--"):
            raise UserError(f"{source} holds {text!r}, expected a flag such as '--routing layer'")
        for word in words:
            if word.startswith("--"):
                name, equals, value = word.partition("=")
                found[name] = values = [value] if equals else []
            else:
                values.append(word)
    return found


def draw(space: SearchSpace, how: Draw) -> list[tuple[int, Architecture]]:
    """Draws architectures from strata of FLOPs: the same for the same arguments, by increasing stratum.

    Returns:
        Number of the stratum, from 0, and architecture; all different.

    Raises:
        UserError: the space has too few architectures.
    """
    rng = random.Random(f"architectures, seed {how.seed}")
    flops = family_of(space).flops
    pool = sorted({space.sample(rng) for _ in range(POOL)}, key=lambda one: (flops(one), one.digest()))
    if len(pool) < how.number:
        raise UserError(f"architectures.number is {how.number}, allowed: {len(pool)} at most in space {space.name}")
    found = []
    for stratum in range(how.strata):
        part = pool[stratum * len(pool) // how.strata : (stratum + 1) * len(pool) // how.strata]
        number = (stratum + 1) * how.number // how.strata - stratum * how.number // how.strata
        chosen = rng.sample(part, number)
        found += [(stratum, one) for one in sorted(chosen, key=flops)]
    return found


def spread(architectures: Sequence[Architecture], number: int) -> list[Architecture]:
    """Returns some of the drawn ones, which are sorted by stratum: the middles of equal parts."""
    total = len(architectures)
    return [architectures[(2 * i + 1) * total // (2 * number)] for i in range(number)]


def interleaved(architectures: Sequence[Architecture]) -> list[Architecture]:
    """Returns the drawn ones, which are sorted by stratum, so that the first few already are of all costs."""
    bits = len(architectures).bit_length()
    order = sorted(range(len(architectures)), key=lambda place: f"{place:0{bits}b}"[::-1])
    return [architectures[place] for place in order]
