"""COMET in an environment of its own: its pinned numpy does not go together with this project's.

python -m venv comet-env && comet-env/bin/pip install unbabel-comet "setuptools<81"
fairseq-mos evaluate ... --comet Unbabel/wmt22-comet-da --comet-python comet-env/bin/python
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.documents import convert, parse_json, read_bytes
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.metrics.scores import Score
from fairseq_mos.paths import is_file
from fairseq_mos.ranges import MINUTES, SENTENCES, Range

SCRIPT = Path(__file__).with_name("neural_script.py")

MINUTES_AT_MOST = 120.0
"""Loading a model (2 GB, downloaded once) and scoring a test set with it, on slow machines too."""

_CHECK_MINUTES = 2.0
"""Looking for a package."""

_SCORE = Range(float, -1000.0, 1000.0)
_ANSWER_BYTES = 2**20
_LAST_BYTES = 2**14


@dataclass
class _Answer:
    """What the script answers: the version of unbabel-comet, and system -> score."""

    version: str
    scores: dict[str, float]


def check_comet(model: str, python: str) -> None:
    """Raises for what would not work, without loading a model.

    Raises:
        UserError: no such interpreter, no unbabel-comet in its environment, or a folder that holds no model.
    """
    _run(python, model, ["check", model], _CHECK_MINUTES)


def comet_scores(
    sources: Sequence[str],
    hypotheses: Mapping[str, Sequence[str]],
    references: Sequence[str],
    model: str,
    python: str,
    batch_size: int = 16,
    gpus: int = 0,
    minutes: float = MINUTES_AT_MOST,
) -> dict[str, Score]:
    """Scores systems.

    Args:
        sources: raw sources.
        hypotheses: system -> translations.
        references: raw references.
        model: a name such as `Unbabel/wmt22-comet-da`, which is downloaded once, a `.ckpt` file, or a folder that
            holds `checkpoints/model.ckpt`.
        python: interpreter of the environment with unbabel-comet.
        batch_size: sentences of a batch.
        gpus: how many to use.
        minutes: how long it may take.

    Returns:
        system -> score (the mean over sentences).

    Raises:
        UserError: no such interpreter, what the script complains about, or no answer, in time or that could be used.
    """
    request = {
        "model": model,
        "batch_size": SENTENCES.check("batch_size", batch_size),
        "gpus": Range(int, 0, 1024).check("gpus", gpus),
        "systems": {
            name: [{"src": s, "mt": h, "ref": r} for s, h, r in zip(sources, lines, references)]
            for name, lines in hypotheses.items()
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "request.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(request), "utf-8")
        _run(python, model, [str(asked), str(answered)], MINUTES.check("--comet-minutes", minutes))
        if not is_file(answered):
            raise UserError(f"COMET ({model}): {python} has ended without an answer")
        content = read_bytes(answered, "answer", _ANSWER_BYTES)
    source = f"COMET ({model}): its answer"
    answer = convert(parse_json(content, source, "answer"), _Answer, source)
    if answer.scores.keys() != hypotheses.keys():
        raise UserError(f"{source} is for other systems than {', '.join(hypotheses)}")
    signature = one_line(f"model:{model}|comet:{one_line(answer.version, 40)}")
    return {
        name: Score("comet", _SCORE.check(f"{source} for {name}", answer.scores[name]), None, None, signature)
        for name in hypotheses
    }


def _run(python: str, model: str, arguments: Sequence[str], minutes: float) -> None:
    """Runs the script; what it prints is of no interest, but for its last complaint."""
    try:
        process = subprocess.Popen(
            # -I: nothing of this environment reaches the other one.
            [python, "-I", str(SCRIPT), *arguments],
            stdin=subprocess.PIPE,  # is closed when this process ends, whatever ends it
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that all processes that it starts can be ended with it
        )
    except (OSError, ValueError) as error:
        raise UserError(f"--comet-python {python}: {getattr(error, 'strerror', None) or error}") from error
    last = bytearray()
    reader = threading.Thread(target=_keep_last, args=(process.stderr, last), daemon=True)
    reader.start()
    try:
        code = process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        raise UserError(f"COMET ({model}): no answer after {minutes:g} minutes (--comet-minutes)") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdin.close()
    if code:
        # A process that it has left behind may hold the pipe open.
        reader.join(timeout=5)
        lines = [line for line in bytes(last).decode("utf-8", "replace").splitlines() if line.strip()]
        raise UserError(f"COMET ({model}): {lines[-1][:300] if lines else f'exit code {code}'}")


def _keep_last(stream, last: bytearray) -> None:
    while chunk := stream.read1(_LAST_BYTES):
        last += chunk
        del last[:-_LAST_BYTES]
