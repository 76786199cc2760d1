"""What a run folder holds: logs of training, searches, scores, a supernet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.arch import Architecture
from fairseq_mos.documents import json_lines
from fairseq_mos.errors import UserError
from fairseq_mos.report.checks import check_results, check_scores, check_search, read_json
from fairseq_mos.report.logs import TrainingLog, read_log

_LARGEST_LOG = 200 * 2**20


@dataclass
class Search:
    """A search's folder.

    Attributes:
        folder: where it lies.
        signature: what its values depend on.
        about: what else its log's first line says.
        evaluations: its log.
        best: the winner's record.
        architecture: the winner.
    """

    folder: Path
    signature: dict
    about: dict
    evaluations: list[dict]
    best: dict
    architecture: Architecture


@dataclass
class RunFolder:
    """Everything that was found.

    Attributes:
        path: the folder.
        training: logs of fairseq-train, by name.
        searches: searches.
        scores: rows of `scores.json` (fairseq-mos evaluate), each with its file.
        results: what an example's `results.json` holds, or None.
        supernet: the supernet's checkpoint, or None.
        supernet_is_given: the user named it.
    """

    path: Path
    training: dict[str, TrainingLog] = field(default_factory=dict)
    searches: list[Search] = field(default_factory=list)
    scores: list[dict] = field(default_factory=list)
    results: dict | None = None
    supernet: Path | None = None
    supernet_is_given: bool = False


def discover(path: str | Path, supernet: str | None = None) -> RunFolder:
    """Looks through a run folder.

    Args:
        path: the folder.
        supernet: the supernet's checkpoint, where it lies elsewhere.

    Raises:
        UserError: no folder, or nothing in it to report on.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is no folder")
    run = RunFolder(path)
    for file in sorted(path.rglob("*.log")):
        _add_training(run, file)
    for file in sorted(path.rglob("evaluations.jsonl")):
        # One that still runs, or was interrupted, has no winner yet.
        if file.with_name("best.json").is_file():
            run.searches.append(_read_search(file))
    for file in sorted(path.rglob("scores.json")):
        rows = read_json(file, list)
        check_scores(rows, file)
        run.scores += [{**row, "folder": str(file.parent)} for row in rows]
    if (path / "results.json").is_file():
        run.results = read_json(path / "results.json", dict)
        check_results(run.results, path / "results.json")
    run.supernet, run.supernet_is_given = _find_supernet(run, supernet), supernet is not None
    if not (run.training or run.searches or run.scores or run.results):
        raise UserError(
            f"{path} holds nothing to report on: no log of fairseq-train, search, scores.json or results.json"
        )
    return run


def _add_training(run: RunFolder, file: Path) -> None:
    if file.stat().st_size > _LARGEST_LOG:
        return
    try:
        log = read_log(file)
    except UserError:
        return  # the log of something else
    # A validation alone is no training.
    if log.train:
        name = log.name if log.name not in run.training else str(file.relative_to(run.path).with_suffix(""))
        log.name = name
        run.training[name] = log


def _read_search(file: Path) -> Search:
    content = file.read_bytes()
    header, *evaluations = json_lines(content, file) or [None]
    folder = file.parent
    best = read_json(folder / "best.json", dict)
    check_search(header, evaluations, best, folder)
    about = {key: value for key, value in header.items() if key != "signature"}
    architecture = Architecture.from_dict(best["architecture"], f"{folder / 'best.json'}: architecture")
    return Search(folder, header["signature"], about, evaluations, best, architecture)


def _find_supernet(run: RunFolder, given: str | None) -> Path | None:
    if given is not None:
        if not Path(given).is_file():
            raise UserError(f"checkpoint {given} does not exist")
        return Path(given)
    candidates = [Path(search.about["path"]) for search in run.searches if search.about.get("path")]
    candidates += [run.path / "supernet" / name for name in ("averaged.pt", "checkpoint_best.pt", "checkpoint_last.pt")]
    return next((file for file in candidates if file.is_file()), None)
