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
from fairseq_mos.report.records import Score
from fairseq_mos.report.texts import count, millions


def scores(run: RunFolder) -> Section:
    """Returns a table for each test set."""
    section = Section("Scores")
    for test_set in dict.fromkeys(row.test_set for row in run.scores):
        rows = [row for row in run.scores if row.test_set == test_set]
        metrics = list(dict.fromkeys(name for row in rows for name in row.scores))
        timed = any(row.costs.get("latency_ms") is not None for row in rows)
        headers = ["system", "parameters", "FLOPs at 30/30", *["latency"] * timed]
        headers += [TITLES.get(name, name) for name in metrics]
        signatures = dict.fromkeys(
            f"{TITLES.get(name, name)}: {score.signature}" for row in rows for name, score in row.scores.items()
        )
        cells = [
            [row.system, count(row.costs.get("params")), millions(row.costs.get("flops"))]
            + [_milliseconds(row.costs.get("latency_ms"))] * timed
            + [_score(row.scores.get(name)) for name in metrics]
            for row in rows
        ]
        signature = " ".join(dict.fromkeys(row.signature for row in rows if row.signature))
        caption = f"Test set {test_set}. " + "; ".join([*signatures, f"translations: {signature}"])
        section.blocks.append(
            Table(headers, cells, caption + ". In brackets: 95 % confidence interval; p: against the first system.")
        )
    return section


def examples(run: RunFolder) -> Section:
    """Returns some sentences of each test set and their translations; notes files that cannot be read."""
    section = Section("Example translations")
    for folder, test_set in dict.fromkeys((row.folder, row.test_set) for row in run.scores):
        systems = [row.system for row in run.scores if (row.folder, row.test_set) == (folder, test_set)]
        section.blocks += _evaluated(run, Path(folder) / "translations", test_set, systems)
    return section


def spread(total: int, number: int = 4) -> list[int]:
    """Returns which of `total` sentences to show: at even distances, neither the best ones nor the worst."""
    step = max(1, total // number)
    return list(range(step // 2, total, step))[:number]


def _evaluated(run: RunFolder, folder: Path, test_set: str, systems: Sequence[str]) -> list[Examples]:
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
    return [
        Examples({name: lines[index] for name, lines in texts.items() if len(lines) == total})
        for index in spread(total)
    ]


def _milliseconds(latency: float | None) -> str:
    return "-" if latency is None else f"{latency:.1f} ms"


def _score(score: Score | None) -> str:
    if score is None:
        return "-"
    lines = [f"{score.score:.2f}"]
    if score.low is not None and score.high is not None:
        lines.append(f"[{score.low:.2f}, {score.high:.2f}]")
    if score.p_value is not None:
        lines.append(f"p = {score.p_value:.3f}")
    return "\n".join(lines)
