"""The page of a plan: its tables and pictures as a document of `fairseq-mos report`'s own kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairseq_mos.report.document import Code, Document, Figure, Section, Table, Text
from reproduce.comparison import TITLES, Comparison, plain
from reproduce.plan import Plan
from reproduce.retraining import COLUMNS

SUMMARY = {
    "method": "method",
    "seeds": "seeds",
    "architectures": "archs",
    "gap": "mean gap",
    "absolute_gap": "mean abs. gap",
    "worst_gap": "worst",
    "tau": "tau-b",
    "tau_strata": "tau-b in strata",
    "tau_noise_tied": "tau-b, noise tied",
    "spearman": "Spearman",
    "regret": "regret",
    "winner_agreement": "same winner",
}
"""Columns of a metric's table, with their titles."""


def document_of(
    name: str,
    plan: Plan,
    found: Comparison,
    content: Mapping,
    figures: Mapping[str, Sequence[Figure]],
) -> Document:
    """Returns the page.

    Args:
        name: of the plan.
        plan: the plan.
        found: the measured values.
        content: what `results.json` holds.
        figures: of each metric.
    """
    floors = plain(content["noise_floor"])
    about = (
        f"{len(found.names)} architectures of space {plan.space}, drawn before training from "
        f"{plan.architectures.strata} strata of FLOPs (seed {plan.architectures.seed}; architectures.csv). Gaps are "
        f"inherited minus from scratch (mean over seeds {', '.join(map(str, plan.scratch.seeds))}); tau, its intervals "
        "and everything else for each seed are in gaps.csv."
    )
    sections = [Section("What is compared", [Text(about), Code(command(name))])]
    for metric in plan.metrics:
        own = [row for row in content["summary"] if row["metric"] == metric]
        section = Section(TITLES[metric])
        floor = shown(floors[metric]) or "not measured yet"
        section.blocks.append(Text(f"Noise floor (two from-scratch seeds): {floor}."))
        if own:
            section.blocks.append(table(own, SUMMARY))
        section.blocks += figures.get(metric, ())
        sections.append(section)
    if content["costs"]:
        sections.append(Section("Costs", [table(content["costs"])]))
    if content.get("retraining"):
        title = f"Retraining, {plan.retraining.updates:,} updates"
        sections.append(Section(title, [table(content["retraining"], COLUMNS)]))
    facts = {
        "units that are in": f"{content['done']} of {content['units']}",
        "attempts that failed": f"{content['failed_attempts']:,}",
        "corpus": plan.corpus.kind,
        "updates": f"{plan.updates:,}",
    }
    summary = "How far the weights that subnets inherit from a supernet are from training from scratch."
    return Document(name, summary, facts, sections)


def command(name: str) -> str:
    """Returns the command that makes a shipped plan's results."""
    return f"bash examples/reproduce/run.sh examples/reproduce/plans/{name}.yaml"


def table(rows: Iterable[Mapping], titles: Mapping[str, str] | None = None, caption: str = "") -> Table:
    """Returns a table; by default with every column that a row has, under its own name."""
    rows = list(rows)
    titles = titles or {column: column for row in rows for column in row}
    return Table([*titles.values()], [[shown(row.get(column)) for column in titles] for row in rows], caption)


def shown(value: object) -> str:
    """Returns a cell of a table; nothing for what is not known."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return value if isinstance(value, str) else f"{value:,}"
