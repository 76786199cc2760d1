"""What a run folder holds: logs of training, searches, scores, a supernet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.paths import exists, is_file, is_folder, listing
from fairseq_mos.report.logs import TrainingLog, scan_log
from fairseq_mos.report.records import ScoreRow, Search, read_scores, read_search

_SEARCH, _SCORES = "evaluations.jsonl", "scores.json"
_OF_SEARCH = ("best.json", "front.json", "state.json")


@dataclass
class RunFolder:
    """Everything that was found.

    Attributes:
        path: the folder.
        read: everything whose name says that it belongs to a report, and what a search has beside its log.
        logs: everything that is called `*.log` and can be read.
        training: logs of fairseq-train, by name.
        searches: searches.
        scores: rows of `scores.json` (fairseq-mos evaluate).
        supernet: the supernet's checkpoint, or None.
        supernet_is_given: the user named it.
        left_out: what was found and cannot be read, with the reason, a sentence each.
    """

    path: Path
    read: list[Path] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    training: dict[str, TrainingLog] = field(default_factory=dict)
    searches: list[Search] = field(default_factory=list)
    scores: list[ScoreRow] = field(default_factory=list)
    supernet: Path | None = None
    supernet_is_given: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's own name, also where it was given as `.`."""
        return self.path.resolve().name or str(self.path)


def discover(path: str | Path, supernet: str | None = None) -> RunFolder:
    """Looks through a run folder.

    Args:
        path: the folder.
        supernet: the supernet's checkpoint, where it lies elsewhere.

    Raises:
        UserError: no folder, nothing in it to report on, or a damaged file.
    """
    path = Path(path)
    if not is_folder(path):
        raise UserError(f"{path} is no folder")
    run = RunFolder(path)
    for file in _files(run):
        run.read.append(file)
        if file.suffix == ".log":
            _add_training(run, file)
        # A search that still runs, or was interrupted, has no winner yet.
        elif file.name == _SEARCH and is_there(file.with_name("best.json")):
            run.searches.append(read_search(file))
            run.read += [file.with_name(name) for name in _OF_SEARCH]
        elif file.name == _SCORES:
            run.scores += read_scores(file)
    _name_searches(run)
    run.supernet, run.supernet_is_given = _find_supernet(run, supernet), supernet is not None
    if not (run.training or run.searches or run.scores):
        raise UserError(
            f"{path} holds nothing to report on: no log of fairseq-train, search or scores.json"
            + (f" ({'; '.join(run.left_out)})" if run.left_out else "")
        )
    return run


def is_there(path: str | Path, question=is_file) -> bool:
    """Whether there is such a file; what the system refuses to tell is not there.

    For places that a file of the run names: they may be another machine's.
    """
    try:
        return question(path)
    except UserError:
        return False


def _files(run: RunFolder) -> Sequence[Path]:
    """Returns all files below a run's folder whose names a report knows, sorted; links to folders are not followed."""
    found, folders = [], [run.path]
    while folders:
        folder = folders.pop()
        try:
            entries = listing(folder)
        except UserError as error:
            if folder == run.path:
                raise
            run.left_out.append(str(error))
            continue
        for entry in entries:
            # Not pathlib's questions, which raise where a path is too long.
            if os.path.isdir(entry):
                if not os.path.islink(entry):
                    folders.append(entry)
            elif (entry.suffix == ".log" or entry.name in (_SEARCH, _SCORES)) and _is_regular(run, entry):
                found.append(entry)
    return sorted(found)


def _is_regular(run: RunFolder, file: Path) -> bool:
    """Whether that is a file; what is something else is noted: a pipe, say, would be waited for."""
    try:
        if is_file(file):
            return True
        reason = f"{file} is no regular file" if exists(file) else f"{file} is a link to nothing"
    except UserError as error:
        reason = str(error)
    run.left_out.append(reason)
    return False


def _add_training(run: RunFolder, file: Path) -> None:
    try:
        log = scan_log(file)
    except UserError as error:
        run.left_out.append(str(error))
        return
    run.logs.append(file)
    # A validation alone is no training, and most logs are of something else.
    if log.train:
        place = file.relative_to(run.path)
        # Their paths are distinct: one of them is free.
        names = (log.name, str(place.with_suffix("")), str(place), f"./{place}")
        log.name = next(name for name in names if name not in run.training)
        run.training[log.name] = log


def _name_searches(run: RunFolder) -> None:
    places = [search.folder.relative_to(run.path) for search in run.searches]
    names = [place.name or run.name for place in places]
    counts = Counter(names)
    for search, place, name in zip(run.searches, places, names):
        search.name = name if counts[name] == 1 else str(place)


def _find_supernet(run: RunFolder, given: str | None) -> Path | None:
    if given is not None:
        if not is_file(given):
            raise UserError(f"checkpoint {given} does not exist")
        return Path(given)
    candidates = [Path(search.about.path) for search in run.searches if search.about.path]
    candidates += [run.path / "supernet" / name for name in ("averaged.pt", "checkpoint_best.pt", "checkpoint_last.pt")]
    return next((file for file in candidates if is_there(file)), None)
