"""The page of a plan: its tables and pictures as a document of `fairseq-mos report`'s own kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairseq_mos.report.document import Code, Document, Figure, Section, Table, Text
from reproduce.claims import SEEDS
from reproduce.comparison import TITLES, Comparison
from reproduce.conflicts import conflict_table
from reproduce.figures import CONFLICT
from reproduce.matched import COLUMNS as MATCHED_COLUMNS
from reproduce.plan import Plan
from reproduce.retraining import COLUMNS

SUMMARY = {
    "method": "method",
    "seeds": "seeds",
    "architectures": "archs",
    "gap": "mean gap",
    "absolute_gap": "mean abs. gap",
    "shortfall": "mean shortfall",
    "noise_floor": "noise",
    "within_noise": "within noise",
    "difference": "abs. gap, less that of {baseline}",
    "worst_gap": "worst",
    "tau": "tau-b",
    "tau_strata": "tau-b in strata",
    "tau_noise_tied": "tau-b, noise tied",
    "tau_strata_noise_tied": "in strata, noise tied",
    "spearman": "Spearman",
    "regret": "regret",
    "winner_agreement": "same winner",
}
"""Columns of a metric's table, with their titles; an interval is in small print below its value."""

CHOICES = {
    "method": "method",
    "seeds": "seeds",
    "limits": "limits",
    "supernet": "by inherited values",
    "random_1": "one at random",
    "trainings": "trainings for its FLOPs",
    "random": "best of as many at random",
    "flops": "most FLOPs that fit",
    "params": "most parameters that fit",
}
"""Columns of a metric's table of choices, with their titles."""

INTERVALS = (
    "In brackets: 95% bootstrap intervals over architectures and seeds; of one seed, over architectures alone. Noise: "
    "mean absolute difference of two from-scratch seeds; a gap is within it, or not, where its whole interval is. "
    "Shortfall: how much worse than from scratch, and 0 where it is better."
)
REGRETS = (
    "Regret under a limit of FLOPs, trained from scratch, against the best that fits: means over limits and seeds. "
    "Random search spends the FLOPs of the supernet's training on this one limit, and knows what it trained exactly."
)

CLAIM_COLUMNS = {
    "claim": "claim",
    "metric": "metric",
    "verdict": "state",
    "rule": "rule",
    "value": "value",
    "low": "from",
    "high": "to",
    "limit": "limit",
    "seeds": "seeds",
    "architectures": "archs",
}
CLAIMS = (
    "Reproduced, or not, where the whole 95% interval is on that side of the limit; undecided else, while an "
    f"architecture is not measured, and with fewer than {SEEDS} supernet seeds of a method."
)
MATCHED = (
    "A dense model, trained from scratch for as many updates as the FLOPs of the supernet's training, of the plan's "
    "search and retraining allow, beside the best that the supernet's first seed gives as it is."
)
CONFLICTS = (
    "Share of negative cosines between gradients of two architectures for the weights that they share, and below it "
    "the mean cosine, by kind of weights: validation loss, without dropout."
)


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
    floors, ceilings = content["noise_floor"], content["scratch_tau"]
    about = (
        f"{len(found.names)} architectures of space {plan.space}, drawn before training from "
        f"{plan.architectures.strata} strata of FLOPs (seed {plan.architectures.seed}; architectures.csv). Gaps are "
        f"inherited minus from scratch (mean over seeds {', '.join(map(str, plan.scratch.seeds))}); tau, its intervals "
        "and everything else for each seed are in gaps.csv."
    )
    sections = [Section("What is compared", [Text(about), Code(command(name))])]
    if content.get("claims"):
        sections.append(Section("Claims", [table(content["claims"], CLAIM_COLUMNS, CLAIMS)]))
    for metric in plan.metrics:
        own = [row for row in content["summary"] if row["metric"] == metric]
        section = Section(TITLES[metric])
        floor, ceiling = (shown(values[metric]) or "not measured yet" for values in (floors, ceilings))
        noise = f"Noise floor (two from-scratch seeds): {floor}; tau-b of one seed's ranking and another's: {ceiling}."
        section.blocks.append(Text(noise))
        if own:
            titles = {name: title.format(baseline=next(iter(plan.methods))) for name, title in SUMMARY.items()}
            section.blocks.append(table(own, titles, INTERVALS))
        section.blocks += figures.get(metric, ())
        chosen = [row for row in content["choices"] if row["metric"] == metric]
        matched = [row for row in content.get("compute_matched", ()) if row["metric"] == metric]
        if matched:
            section.blocks.append(table(matched, MATCHED_COLUMNS, MATCHED))
        if chosen:
            section.blocks.append(table(chosen, CHOICES, REGRETS))
        sections.append(section)
    if content["costs"]:
        sections.append(Section("Costs", [table(content["costs"])]))
    if content.get("retraining"):
        title = f"Retraining, {plan.retraining.updates:,} updates"
        sections.append(Section(title, [table(content["retraining"], COLUMNS)]))
    if content.get("conflicts"):
        blocks = [table(conflict_table(content["conflicts"]), caption=CONFLICTS), *figures.get(CONFLICT, ())]
        sections.append(Section("Gradient conflict", blocks))
    facts = {
        "units that are in": f"{content['done']} of {content['units']}",
        "at commits": ", ".join(f"{commit} ({number:,})" for commit, number in content["commits"].items()) or "none",
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
    return Table([*titles.values()], [[cell(row, column) for column in titles] for row in rows], caption)


def cell(row: Mapping, column: str) -> str:
    """Returns a cell of a table; an interval that the row has for it is its second line."""
    text, low, high = (shown(row.get(name)) for name in (column, f"{column}_low", f"{column}_high"))
    return f"{text}\n[{low}, {high}]" if text and low and high else text


def shown(value: object) -> str:
    """Returns a cell of a table; nothing for what is not known."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return value if isinstance(value, str) else f"{value:,}"
