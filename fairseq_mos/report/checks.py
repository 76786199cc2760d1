"""Whether what a run's files hold is what a report needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.search.objectives import OBJECTIVES

NUMBER = (int, float)
_WORDS = {
    str: "text", dict: "an object", list: "a list", bool: "true or false", int: "a whole number", NUMBER: "a number",
}  # fmt: skip


def require(values, where: str, **kinds) -> None:
    """Raises unless `values` is an object with fields of these kinds.

    Args:
        values: parsed JSON.
        where: what to call it, such as the file.
        kinds: field -> type.

    Raises:
        UserError: names the field and what is expected.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {_short(values)}, expected an object")
    for name, kind in kinds.items():
        value = values.get(name)
        if not isinstance(value, kind):
            found = f"is {_short(value)}" if name in values else "is missing"
            raise UserError(f"{where}: {name} {found}, expected {_WORDS[kind]}")


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def read_json(file: Path, kind: type):
    """Reads a JSON file that holds an object or a list.

    Raises:
        UserError: it does not, or cannot be read.
    """
    try:
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{file} is no JSON: {error}") from error
    if not isinstance(value, kind):
        raise UserError(f"{file} is {_short(value)}, expected {_WORDS[kind]}")
    return value


def check_scores(rows: Sequence, file: Path) -> None:
    """Checks the rows of `scores.json`."""
    for number, row in enumerate(rows, 1):
        where = f"{file}: row {number}"
        require(row, where, test_set=str, system=str, scores=dict, costs=dict)
        for name, score in row["scores"].items():
            require(score, f"{where}: {name}", score=NUMBER, signature=str)


def check_search(header, evaluations: Sequence, best: dict, folder: Path) -> None:
    """Checks a search's log and its winner."""
    log, winner = folder / "evaluations.jsonl", folder / "best.json"
    require(header, str(log), signature=dict)
    require(header["signature"], f"{log}: signature", algorithm=str, objectives=list, seed=int, split=str)
    objectives = header["signature"]["objectives"]
    if not objectives or any(name not in OBJECTIVES for name in objectives):
        raise UserError(f"{log}: objectives are {_short(objectives)}, allowed: {', '.join(OBJECTIVES)}")
    if not evaluations:
        raise UserError(f"{log} holds no evaluation, but {winner} a winner")
    for number, row in enumerate(evaluations, 1):
        require(row, f"{log}: evaluation {number}", index=int)
    needed = {"digest": str, "params": NUMBER, "flops": NUMBER, "architecture": dict, objectives[0]: NUMBER}
    require(best, str(winner), **needed)
    for row in best.get("measured") or []:
        numbers = dict.fromkeys(("predicted", "measured", "low", "high"), NUMBER)
        require(row, f"{winner}: measured", **numbers, holds=bool)


def check_results(results: dict, file: Path) -> None:
    """Checks an example's `results.json`."""
    texts = dict.fromkeys(("title", "bleu_signature", "chrf_signature"), str)
    require(results, str(file), rows=list, signature=dict, **texts)
    for number, row in enumerate(results["rows"], 1):
        require(row, f"{file}: row {number}", system=str, bleu=NUMBER, chrf=NUMBER)
    for example in results.get("examples", []):
        require(example, f"{file}: example", source=str, reference=str, translations=dict)
