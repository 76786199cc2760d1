"""Tables, pictures and a page from the units that are finished, however many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fairseq_mos.arch import Architecture
from fairseq_mos.report.document import write
from fairseq_mos.tables import write_csv, write_json
from reproduce.choices import choice_rows, choice_summary
from reproduce.claims import claim_rows
from reproduce.comparison import LOWER, SCRATCH, Comparison, gap_rows, plain, summary_rows
from reproduce.conflicts import conflict_rows
from reproduce.costs import all_flops, costs_of, counts_of
from reproduce.figures import CONFLICT, draw_conflicts, draw_figures
from reproduce.finished import Finished
from reproduce.matched import matched_rows
from reproduce.page import document_of
from reproduce.plan import Plan
from reproduce.retraining import retraining_rows
from reproduce.units import Conflict, Job, Retrained, Unit


def write_results(
    folder: Path,
    name: str,
    plan: Plan,
    drawn: Sequence[tuple[int, Architecture]],
    jobs: list[Job],
    finished: Finished,
    retrained: Sequence[Retrained] = (),
    compared: Sequence[Conflict] = (),
    dense: Sequence[Job] = (),
) -> Path:
    """Writes a CSV file for each table, results.json, pictures and a page.

    Args:
        folder: where.
        name: of the plan.
        plan: the plan.
        drawn: stratum and architecture of each that is compared.
        jobs: of the plan.
        finished: the finished units.
        retrained: the plan's retrainings; without any, no table of them.
        dense: the plan's dense models for a supernet's FLOPs; without any, no table of them.
        compared: the plan's measurements of gradient conflict; without any, no table of them.

    Returns:
        The page.
    """
    found = Comparison(drawn, jobs, finished)
    counts = [counts_of(one) for _, one in drawn]
    rows = gap_rows(plan, found, counts)
    units = [*jobs, *dense, *compared, *retrained]
    flops = all_flops((unit.training for unit in units), finished)
    failures = {unit.name: finished.failures(unit.digest) for unit in units}
    choices = [plain(row) for row in choice_rows(plan, found, counts, jobs, flops)]
    content = {
        "plan": name,
        "units": len(units),
        "done": sum(finished.read(job.digest) is not None for job in units),
        "commits": commits_of(units, finished),
        "failed_attempts": sum(map(len, failures.values())),
        "noise_floor": plain({metric: found.floor(metric) for metric in plan.metrics}),
        "scratch_tau": plain({metric: found.ceiling(metric) for metric in plan.metrics}),
        "summary": summary_rows(plan, found, rows),
        "gaps": rows,
        "costs": costs_of([*jobs, *dense], finished, flops),
        "choices": choice_summary(choices),
    }
    tables = {"gaps": rows, "summary": content["summary"], "costs": content["costs"], "choices": choices}
    tables["architectures"] = architecture_rows(plan, drawn, found, counts)
    if retrained:
        losses = [metric for metric in plan.metrics if metric in LOWER]
        again = [plain(row) for row in retraining_rows(found, losses, jobs, retrained, finished, flops)]
        tables["retraining"] = content["retraining"] = again
    if dense:
        rows = [plain(row) for row in matched_rows(plan, found, dense, finished)]
        tables["compute_matched"] = content["compute_matched"] = rows
    if compared:
        tables["conflicts"] = content["conflicts"] = conflict_rows(compared, finished)
    if plan.claims:
        answers = claim_rows(plan, found, content["summary"], content.get("retraining", ()))
        tables["claims"] = content["claims"] = answers
    for title, table in tables.items():
        write_csv(folder / f"{title}.csv", table)
    write_json(folder / "results.json", content | {"failures": {k: v for k, v in failures.items() if v}})
    figures = draw_figures(folder, plan, found, counts)
    if content.get("conflicts"):
        figures[CONFLICT] = [draw_conflicts(folder, content["conflicts"])]
    return write(document_of(name, plan, found, content, figures), folder / "results")[0]


def commits_of(units: Iterable[Unit], finished: Finished) -> dict[str, int]:
    """Returns at which commits units were made, most first, and how many: there they come out again, bit for bit."""
    results = filter(None, (finished.read(unit.digest) for unit in units))
    return dict(Counter(result["commit"] for result in results if result.get("commit")).most_common())


def architecture_rows(
    plan: Plan, drawn: Sequence[tuple[int, Architecture]], found: Comparison, counts: list[dict]
) -> list[dict]:
    """Returns a row for each architecture: its costs, all its values and its sizes."""
    rows = []
    for place, (stratum, one) in enumerate(drawn):
        row = {"architecture": one.digest(), "stratum": stratum, **counts[place]}
        for metric in plan.metrics:
            row |= {f"scratch_{metric}_{s}": found.of((SCRATCH, s), metric)[place] for s in found.seeds(SCRATCH)}
            for key in found.values:
                if key[0] != SCRATCH:
                    row[f"{key[0]}_{metric}_{key[1]}"] = found.of(key, metric)[place]
        rows.append(plain(row) | {"sizes": one.to_json()})
    return rows
