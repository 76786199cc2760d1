"""What a report says of translations: their scores, and examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.systems import translation_file
from fairseq_mos.metrics.tables import TITLES
from fairseq_mos.metrics.testsets import read_lines
from fairseq_mos.report.discover import RunFolder, is_there
from fairseq_mos.report.document import Examples, Section, Table
from fairseq_mos.report.records import Results, Score
from fairseq_mos.report.texts import count, millions


def scores(run: RunFolder) -> Section:
    """Returns a table for each test set, and the example's own."""
    section = Section("Scores")
    for test_set in dict.fromkeys(row.test_set for row in run.scores):
        rows = [row for row in run.scores if row.test_set == test_set]
        metrics = list(dict.fromkeys(name for row in rows for name in row.scores))
        headers = ["system", "parameters", "FLOPs at 30/30", *(TITLES.get(name, name) for name in metrics)]
        signatures = dict.fromkeys(
            f"{TITLES.get(name, name)}: {score.signature}" for row in rows for name, score in row.scores.items()
        )
        cells = [
            [row.system, count(row.costs.get("params")), millions(row.costs.get("flops"))]
            + [_score(row.scores.get(name)) for name in metrics]
            for row in rows
        ]
        signature = " ".join(dict.fromkeys(row.signature for row in rows if row.signature))
        caption = f"Test set {test_set}. " + "; ".join([*signatures, f"translations: {signature}"])
        section.blocks.append(
            Table(headers, cells, caption + ". In brackets: 95 % confidence interval; p: against the first system.")
        )
    if run.results:
        section.blocks.append(_example_scores(run.results))
    return section


def examples(run: RunFolder) -> Section:
    """Returns some sentences of each test set and their translations; notes files that cannot be read."""
    section = Section("Example translations")
    if run.results:
        for example in run.results.examples:
            lines = {"source": example.source, "reference": example.reference, **example.translations}
            section.blocks.append(Examples(lines))
    for folder, test_set in dict.fromkeys((row.folder, row.test_set) for row in run.scores):
        systems = [row.system for row in run.scores if (row.folder, row.test_set) == (folder, test_set)]
        section.blocks += _evaluated(run, Path(folder) / "translations", test_set, systems)
    return section


def _example_scores(results: Results) -> Table:
    headers = ["system", "parameters", "FLOPs at 30/30", "latency", "valid loss", "BLEU", "chrF"]
    rows = [
        [
            row.system,
            count(row.parameters),
            millions(row.flops),
            "-" if row.latency_ms is None else f"{row.latency_ms:.1f} ms",
            "-" if row.valid_loss is None else f"{row.valid_loss:.3f}",
            f"{row.bleu:.2f}",
            f"{row.chrf:.2f}",
        ]
        for row in results.rows
    ]
    signature = "; ".join(f"{key}: {value}" for key, value in results.signature.items())
    caption = f"{results.title}. BLEU {results.bleu_signature}; chrF {results.chrf_signature}; {signature}."
    return Table(headers, rows, caption)


def _evaluated(
    run: RunFolder, folder: Path, test_set: str, systems: Sequence[str], number: int = 4
) -> list[Examples]:
    files = {part: translation_file(folder, test_set, part) for part in ("source", "reference")}
    files.update({system: translation_file(folder, system, test_set) for system in systems})
    texts = {}
    for name, file in files.items():
        try:
            if is_there(file):
                texts[name] = read_lines(str(file))
        except UserError as error:
            run.left_out.append(str(error))
    if "source" not in texts:
        return []
    total = len(texts["source"])
    step = max(1, total // number)
    # At even distances: not the best ones, nor the worst.
    return [
        Examples({name: lines[index] for name, lines in texts.items() if len(lines) == total})
        for index in range(step // 2, total, step)
    ][:number]


def _score(score: Score | None) -> str:
    if score is None:
        return "-"
    lines = [f"{score.score:.2f}"]
    if score.low is not None and score.high is not None:
        lines.append(f"[{score.low:.2f}, {score.high:.2f}]")
    if score.p_value is not None:
        lines.append(f"p = {score.p_value:.3f}")
    return "\n".join(lines)
