"""COMET in an environment of its own: its pinned numpy does not go together with this project's.

python -m venv comet-env && comet-env/bin/pip install unbabel-comet "setuptools<81"
fairseq-mos evaluate ... --comet Unbabel/wmt22-comet-da --comet-python comet-env/bin/python
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.scores import Score

SCRIPT = Path(__file__).with_name("neural_script.py")


def check_comet(model: str, python: str) -> None:
    """Raises for what would not work, without loading a model.

    Raises:
        UserError: no such interpreter, no unbabel-comet in its environment, or a folder that holds no model.
    """
    _run(python, model, "check", model)


def _run(python: str, model: str, *arguments: str) -> None:
    try:
        # -I: nothing of this environment reaches the other one.
        done = subprocess.run([python, "-I", str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"--comet-python {python}: {error.strerror or error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(f"COMET ({model}): {lines[-1][:300] if lines else f'exit code {done.returncode}'}")


def comet_scores(
    sources: Sequence[str],
    hypotheses: Mapping[str, Sequence[str]],
    references: Sequence[str],
    model: str,
    python: str,
    batch_size: int = 16,
    gpus: int = 0,
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

    Returns:
        system -> score (the mean over sentences).

    Raises:
        UserError: no such interpreter, or what the script complains about.
    """
    request = {
        "model": model,
        "batch_size": batch_size,
        "gpus": gpus,
        "systems": {
            name: [{"src": s, "mt": h, "ref": r} for s, h, r in zip(sources, lines, references)]
            for name, lines in hypotheses.items()
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "request.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(request), "utf-8")
        _run(python, model, str(asked), str(answered))
        answer = json.loads(answered.read_text("utf-8"))
    signature = f"model:{model}|comet:{answer['version']}"
    return {name: Score("comet", score, None, None, signature) for name, score in answer["scores"].items()}
