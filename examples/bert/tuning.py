"""Fine-tuning of all dense models on GLUE tasks, by examples/glue."""

from __future__ import annotations

import csv
import shlex

from pipeline.work import digest_files, write_text

from bert import text
from bert.layout import Run, System

PLAN = """\
# Small models take a higher rate than those of the published grid.
lr: [0.0005]
batch: [32]
epochs: [3]
seeds: [{seed}]
max_updates: {updates}
flags: [--dropout 0.1, --attention-dropout 0.1, "--adam-betas '(0.9, 0.98)'"]
"""


def tune_all(run: Run) -> None:
    """Fine-tunes every dense model on every task."""
    tasks = ",".join(run.args.tasks)
    arguments = ["glue", "prepare", "--data", str(run.args.glue), "--tasks", tasks]
    arguments += [
        "--output",
        str(run.folder / "glue"),
        "--dict",
        str(run.data / "dict.txt"),
        "--bpe",
        str(run.model),
        "--length",
        str(text.LONGEST + 2),
    ]
    settings = {"tasks": tasks, "after": run.work.token("binarise")}
    run.work.step("glue", settings, [run.folder / "glue"], lambda: run.command("glue", arguments, "glue"))
    for system in run.systems():
        _tune(run, system)


def _tune(run: Run, system: System) -> None:
    plan = run.folder / "tuning" / f"{system.name}.yaml"
    write_text(plan, PLAN.format(seed=system.seed, updates=run.args.tuning_updates))
    arguments = ["glue", "finetune", "--model", str(run.checkpoint(system)), "--name", system.name]
    arguments += ["--plan", str(plan), "--tasks", ",".join(run.args.tasks), "--output", str(run.folder / "glue")]
    arguments += ["--threads", str(run.args.threads)]

    def tune() -> None:
        run.work.say(f"bash examples/glue/run.sh {shlex.join(arguments[1:])}")
        run.command("glue", arguments, f"tune-{system.name}")

    settings = {"plan": digest_files([plan]), "after": [run.origin_token(system), run.work.token("glue")]}
    folder = run.folder / "glue" / "models" / system.name
    run.work.step(f"tune-{system.name}", settings, [folder], tune, continues=True)


def scores(run: Run, system: System) -> dict[str, float]:
    """Returns a dense model's scores on the dev sets, as `task:measure`."""
    file = run.folder / "glue" / "results.csv"
    if not run.args.tasks:
        return {}
    with open(file, encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["model"] == system.name and row["split"] == "valid"]
    return {f"{row['task']}:{row['measure']}": float(row["mean"]) for row in rows}
