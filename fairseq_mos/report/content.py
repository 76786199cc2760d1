"""What a report says about a run folder."""

from __future__ import annotations

import math
import random

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.report import figures
from fairseq_mos.report.architecture_picture import architecture_svg
from fairseq_mos.report.commands import run_commands, wrapped
from fairseq_mos.report.discover import RunFolder
from fairseq_mos.report.document import Code, Document, Facts, Figure, Section, Table, Text
from fairseq_mos.report.mixes import expert_mixes
from fairseq_mos.report.records import Search
from fairseq_mos.report.retraining import Saving, compare
from fairseq_mos.report.scored import examples, scores
from fairseq_mos.report.texts import count, millions
from fairseq_mos.report.trained import Trained, load_trained

_RANDOM = 4
"""Random architectures in the map of mixes."""

_CURVES, _COMMANDS = 100, 1000
"""The most that a page shows of a folder with thousands of logs."""


def build(run: RunFolder, title: str | None = None, saving: tuple | None = None) -> Document:
    """Builds the report.

    Args:
        run: what was found.
        title: of the page.
        saving: logs of training from scratch and of retraining, where they are not found by their names.
    """
    trained = load_trained(run)
    space = trained.space
    pair = saving or find_pair(run)
    sections = [
        _trained(trained),
        scores(run),
        *(_search(search, space) for search in run.searches),
        _retraining(pair),
        _training(run),
        _experts(run, trained.model),
        examples(run),
        _commands(run),
    ]
    facts = _facts(run, space, pair)
    return Document(
        title or f"Report on {run.name}",
        "A weight-sharing supernet, what a search found in it, and how good that is. Made by fairseq-mos report from "
        f"the files of {run.name}.",
        facts,
        [section for section in sections if section is not None and section.blocks],
    )


def find_pair(run: RunFolder) -> tuple | None:
    """Returns the logs of training from scratch and of retraining, found by their names; or None."""

    def named(*words):
        return next((log for name, log in run.training.items() if any(word in name for word in words)), None)

    pair = named("scratch"), named("retrain", "finetune")
    return pair if all(pair) and all(log.valid.get("") for log in pair) else None


def _facts(run: RunFolder, space: SearchSpace | None, pair: tuple | None) -> dict[str, str]:
    facts = {}
    if space is not None:
        facts["search space"] = f"{space.name}: {_large(space.size())} architectures"
    supernet = next((log for log in run.training.values() if log.is_supernet), None)
    if supernet is not None:
        facts["supernet's updates"] = f"{supernet.updates:,}"
        seconds = supernet.seconds_at(supernet.updates)
        if seconds:
            facts["its training time"] = f"{seconds / 60:,.0f} min"
    if run.searches:
        search = run.searches[0]
        facts["evaluated by the search"] = f"{len(search.shown.evaluations):,}"
        facts["found"] = f"{count(search.best.params)} parameters"
    if pair:
        saved = compare(*pair).saved()
        if saved is not None:
            facts["retraining saves"] = f"{saved:.0%} of the updates"
    return facts


def _trained(trained: Trained) -> Section:
    section = Section("What was trained")
    if trained.facts:
        section.blocks.append(Facts(trained.facts))
    if trained.trouble:
        section.blocks.append(Text(trained.trouble))
    return section


def _search(search: Search, space: SearchSpace | None) -> Section:
    about = search.about.signature
    limits = ", ".join(about.constraints) or "no limit"
    raced = sum(not row.full for row in search.shown.evaluations)
    best = search.best
    section = Section("Search" if search.name == "search" else f"Search: {search.name}")
    section.blocks.append(
        Text(
            f"Algorithm {about.algorithm}, objectives {', '.join(about.objectives)}, {limits}, seed "
            f"{about.seed}: {len(search.shown.evaluations):,} architectures evaluated on split {about.split}, "
            f"{raced:,} of them stopped early."
        )
    )
    front = figures.pareto_front(search)
    if front is not None:
        caption = "What the search evaluated, its Pareto front, and what was picked."
        section.blocks.append(Figure(f"{search.name}-front", front, caption))
    progress = figures.search_progress(search)
    section.blocks.append(Figure(f"{search.name}-progress", progress, "Progress of the search."))
    largest = space.largest() if space is not None and _is_of(space, search.architecture) else None
    section.blocks.append(
        Figure(
            f"{search.name}-architecture",
            architecture_svg(search.architecture, largest),
            f"The picked architecture {search.architecture.digest()}: {count(best.params)} parameters, "
            f"{millions(best.flops)} FLOPs.",
        )
    )
    if best.measured:
        rows = [
            [m.digest, f"{m.predicted:.2f} ms", f"{m.measured:.2f} ms", f"{m.low:.2f} to {m.high:.2f} ms",
             "yes" if m.holds else "no"]
            for m in best.measured
        ]  # fmt: skip
        section.blocks.append(Table(["candidate", "predicted", "measured", "quartiles", "keeps the limit"], rows))
    values = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in search.signature.items()
        if name != "settings"
    }
    text = "Signature: " + "|".join(f"{name}:{value}" for name, value in values.items())
    section.blocks.append(Text(text, small=True))
    return section


def _is_of(space: SearchSpace, architecture: Architecture) -> bool:
    """Whether an architecture of a file is one of the supernet's, which may have been trained anew since."""
    try:
        space.validate(architecture)
    except UserError:
        return False
    return space.name == architecture.space


def _retraining(pair: tuple | None) -> Section | None:
    if pair is None:
        return None
    found: Saving = compare(*pair)
    section = Section("Retraining")
    section.blocks += [Text(sentence[0].upper() + sentence[1:] + ".") for sentence in found.sentences()]
    picture = figures.compared_curves(pair, found.target_loss)
    section.blocks.append(
        Figure("retraining", picture, "The same subnet, retrained from inherited weights and from scratch.")
    )
    return section


def _training(run: RunFolder) -> Section:
    section = Section("Training")
    rows = []
    logs = sorted(run.training.values(), key=lambda log: (not log.is_supernet, log.name))
    for log in logs:
        seconds = log.seconds_at(log.updates)
        last = {role: log.valid[role][max(log.valid[role])] for role in log.roles}
        shown = ", ".join(f"{role or 'mean' if len(last) > 1 else 'loss'} {value:.3f}" for role, value in last.items())
        rows.append(
            [log.name, f"{log.updates:,}", "-" if seconds is None else f"{seconds / 60:,.1f} min", shown or "-"]
        )
    if rows:
        caption = "Training time is without validation. Losses: bits per token, label-smoothed."
        section.blocks.append(Table(["run", "updates", "training time", "last valid losses"], rows, caption))
    if len(logs) > _CURVES:
        section.blocks.append(Text(f"Curves of the first {_CURVES} of {len(logs):,}:"))
    for log in logs[:_CURVES]:
        caption = f"Training of {log.name}" + (": each representative architecture." if len(log.roles) > 1 else ".")
        section.blocks.append(Figure(f"training-{log.name}", figures.training_curves(log), caption))
    return section


def _experts(run: RunFolder, supernet) -> Section | None:
    if supernet is None:
        return None
    space, rng = supernet.space, random.Random(1)
    chosen: dict[str, Architecture] = {"largest": space.largest()}
    for search in run.searches:
        if _is_of(space, search.architecture):
            chosen[f"picked ({search.architecture.digest()[:6]})"] = search.architecture
    sampled = sorted((space.sample(rng) for _ in range(_RANDOM)), key=family_of(space).flops, reverse=True)
    chosen.update({f"random {number + 1}": architecture for number, architecture in enumerate(sampled)})
    chosen["smallest"] = space.smallest()
    mixes = expert_mixes(supernet, chosen)
    if mixes is None:
        return None
    share = 1 / mixes.experts
    caption = (
        f"How much of the first of {mixes.experts} experts each feed-forward weight takes: mean and standard deviation "
        f"over its output neurons; an even mix is {share:.2f}. Grey: the architecture lacks the layer. Columns that "
        "look alike would mean that the router ignores the architecture."
    )
    return Section("Experts", [Figure("experts", figures.mix_map(mixes), caption)])


def _commands(run: RunFolder) -> Section:
    section = Section("Commands")
    commands = run_commands(run.path, run.logs)
    if commands:
        more = f" These are the first {_COMMANDS:,} of {len(commands):,}." if len(commands) > _COMMANDS else ""
        section.blocks.append(Text(f"As the run's logs tell; RUN is the run's folder.{more}"))
        section.blocks.append(Code("\n\n".join(map(wrapped, commands[:_COMMANDS]))))
    return section


def _large(number: int) -> str:
    # Beyond some thousands of digits, Python writes no decimal number.
    return f"{number:,}" if number < 10**30 else f"about 10^{math.log10(number):.0f}"
