"""What a report says about a run folder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.cost.closed_form import flops
from fairseq_mos.metrics.tables import TITLES
from fairseq_mos.report import figures
from fairseq_mos.report.architecture_picture import architecture_svg
from fairseq_mos.report.commands import run_commands, wrapped
from fairseq_mos.report.discover import RunFolder, Search
from fairseq_mos.report.document import Code, Document, Examples, Facts, Figure, Section, Table, Text
from fairseq_mos.report.mixes import expert_mixes
from fairseq_mos.report.retraining import Saving, compare
from fairseq_mos.report.trained import Trained, load_trained

_RANDOM = 4
"""Random architectures in the map of mixes."""


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
        _scores(run),
        *(_search(search, space) for search in run.searches),
        _retraining(pair),
        _training(run),
        _experts(run, trained.model),
        _examples(run),
        _commands(run),
    ]
    facts = _facts(run, space, pair)
    return Document(
        title or f"Report on {run.path.resolve().name}",
        "A weight-sharing supernet, what a search found in it, and how good that is. Made by fairseq-mos report from "
        f"the files of {run.path.name or run.path.resolve().name}.",
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
        facts["search space"] = f"{space.name}: {space.size():,} architectures"
    supernet = next((log for log in run.training.values() if log.is_supernet), None)
    if supernet is not None:
        facts["supernet's updates"] = f"{supernet.updates:,}"
        seconds = supernet.seconds_at(supernet.updates)
        if seconds:
            facts["its training time"] = f"{seconds / 60:,.0f} min"
    if run.searches:
        search = run.searches[0]
        facts["evaluated by the search"] = f"{len(search.evaluations):,}"
        facts["found"] = f"{search.best['params']:,} parameters"
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


def _scores(run: RunFolder) -> Section | None:
    section = Section("Scores")
    for test_set in dict.fromkeys(row["test_set"] for row in run.scores):
        rows = [row for row in run.scores if row["test_set"] == test_set]
        metrics = list(dict.fromkeys(name for row in rows for name in row["scores"]))
        headers = ["system", "parameters", "FLOPs at 30/30", *(TITLES.get(name, name) for name in metrics)]
        signatures = dict.fromkeys(
            f"{TITLES.get(name, name)}: {score['signature']}" for row in rows for name, score in row["scores"].items()
        )
        cells = [
            [row["system"], _count(row["costs"].get("params")), _millions(row["costs"].get("flops"))]
            + [_score(row["scores"].get(name)) for name in metrics]
            for row in rows
        ]
        signature = " ".join(dict.fromkeys(row["signature"] for row in rows if row.get("signature")))
        caption = f"Test set {test_set}. " + "; ".join([*signatures, f"translations: {signature}"])
        section.blocks.append(
            Table(headers, cells, caption + ". In brackets: 95 % confidence interval; p: against the first system.")
        )
    if run.results:
        section.blocks.append(_example_scores(run.results))
    return section


def _example_scores(results: dict) -> Table:
    headers = ["system", "parameters", "FLOPs at 30/30", "latency", "valid loss", "BLEU", "chrF"]
    rows = [
        [
            row["system"],
            _count(row.get("parameters")),
            _millions(row.get("flops")),
            "-" if row.get("latency_ms") is None else f"{row['latency_ms']:.1f} ms",
            "-" if row.get("valid_loss") is None else f"{row['valid_loss']:.3f}",
            f"{row['bleu']:.2f}",
            f"{row['chrf']:.2f}",
        ]
        for row in results["rows"]
    ]
    signature = "; ".join(f"{key}: {value}" for key, value in results["signature"].items())
    caption = f"{results['title']}. BLEU {results['bleu_signature']}; chrF {results['chrf_signature']}; {signature}."
    return Table(headers, rows, caption)


def _search(search: Search, space: SearchSpace | None) -> Section:
    name = search.folder.name
    title = "Search" if name == "search" else f"Search: {name}"
    signature = search.signature
    limits = ", ".join(signature.get("constraints", [])) or "no limit"
    raced = sum(bool(row.get("raced")) for row in search.evaluations)
    best = search.best
    section = Section(title)
    section.blocks.append(
        Text(
            f"Algorithm {signature['algorithm']}, objectives {', '.join(signature['objectives'])}, {limits}, seed "
            f"{signature['seed']}: {len(search.evaluations):,} architectures evaluated on split {signature['split']}, "
            f"{raced:,} of them stopped early."
        )
    )
    front = figures.pareto_front(search)
    if front is not None:
        caption = "What the search evaluated, its Pareto front, and what was picked."
        section.blocks.append(Figure(f"{name}-front", front, caption))
    section.blocks.append(Figure(f"{name}-progress", figures.search_progress(search), "Progress of the search."))
    largest = space.largest() if space is not None and space.name == search.architecture.space else None
    section.blocks.append(
        Figure(
            f"{name}-architecture",
            architecture_svg(search.architecture, largest),
            f"The picked architecture {best['digest']}: {best['params']:,} parameters, "
            f"{_millions(best['flops'])} FLOPs.",
        )
    )
    measured = best.get("measured") or []
    if measured:
        rows = [
            [m.get("digest", ""), f"{m['predicted']:.2f} ms", f"{m['measured']:.2f} ms",
             f"{m['low']:.2f} to {m['high']:.2f} ms", "yes" if m["holds"] else "no"]
            for m in measured
        ]  # fmt: skip
        section.blocks.append(Table(["candidate", "predicted", "measured", "quartiles", "keeps the limit"], rows))
    values = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in signature.items()
        if name != "settings"
    }
    text = "Signature: " + "|".join(f"{name}:{value}" for name, value in values.items())
    section.blocks.append(Text(text, small=True))
    return section


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
    for log in logs:
        caption = f"Training of {log.name}" + (": each representative architecture." if len(log.roles) > 1 else ".")
        section.blocks.append(Figure(f"training-{_slug(log.name)}", figures.training_curves(log), caption))
    return section


def _experts(run: RunFolder, supernet) -> Section | None:
    if supernet is None:
        return None
    space, rng = supernet.space, random.Random(1)
    chosen: dict[str, Architecture] = {"largest": space.largest()}
    for search in run.searches:
        if search.architecture.space == space.name:
            chosen[f"picked ({search.best['digest'][:6]})"] = search.architecture
    sampled = sorted((space.sample(rng) for _ in range(_RANDOM)), key=flops, reverse=True)
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


def _examples(run: RunFolder) -> Section:
    section = Section("Example translations")
    if run.results:
        for example in run.results.get("examples", []):
            lines = {"source": example["source"], "reference": example["reference"], **example["translations"]}
            section.blocks.append(Examples(lines))
    for test_set in dict.fromkeys((row["folder"], row["test_set"]) for row in run.scores):
        section.blocks += _evaluated_examples(
            *test_set, [r["system"] for r in run.scores if (r["folder"], r["test_set"]) == test_set]
        )
    return section


def _evaluated_examples(folder: str, test_set: str, systems: Sequence[str], number: int = 4) -> list[Examples]:
    from fairseq_mos.metrics.systems import translation_file
    from fairseq_mos.metrics.testsets import read_lines

    place = Path(folder) / "translations"
    files = {part: translation_file(place, test_set, part) for part in ("source", "reference")}
    files.update({system: translation_file(place, system, test_set) for system in systems})
    texts = {name: read_lines(str(file)) for name, file in files.items() if file.is_file()}
    if "source" not in texts:
        return []
    total = len(texts["source"])
    step = max(1, total // number)
    # At even distances: not the best ones, nor the worst.
    return [
        Examples({name: lines[index] for name, lines in texts.items() if len(lines) == total})
        for index in range(step // 2, total, step)
    ][:number]


def _commands(run: RunFolder) -> Section:
    section = Section("Commands")
    commands = run_commands(run.path)
    if commands:
        section.blocks.append(Text("As the run's logs tell; RUN is the run's folder."))
        section.blocks.append(Code("\n\n".join(map(wrapped, commands))))
    return section


def _count(value) -> str:
    return "-" if value is None else f"{int(value):,}"


def _millions(value) -> str:
    return "-" if value is None else f"{value / 1e6:,.1f}M"


def _score(score: dict | None) -> str:
    if score is None:
        return "-"
    lines = [f"{score['score']:.2f}"]
    if score.get("low") is not None:
        lines.append(f"[{score['low']:.2f}, {score['high']:.2f}]")
    if score.get("p_value") is not None:
        lines.append(f"p = {score['p_value']:.3f}")
    return "\n".join(lines)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
