"""The stages after training: latency, search, extraction, validation, translation, scores; each calls commands."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.config import PipelineError
from pipeline.layout import COPY, KINDS, SUBNETS, Paced, Run, slug
from pipeline.text import write_lines
from pipeline.work import duration, write_text


def measure_latency(run: Run) -> None:
    """Measures random subnets, and fits the latency predictor to them."""
    from fairseq_mos.cost.latency import device_name

    config, args, token = run.config, run.args, run.work.token
    settings = {
        "samples": args.latency_samples,
        "runs": config.latency_runs,
        # Left out where it is one, so that older work folders still count.
        **({"passes": config.latency_passes} if config.latency_passes > 1 else {}),
        "seed": args.seed,
        "threads": args.threads,
        # In a work folder that moved to another machine, these steps are done again.
        "device": device_name("cpu"),
        "after": token("average-supernet"),
    }
    measuring = ["latency-dataset", "--path", str(run.supernet), "--data", str(run.data)]
    measuring += ["--samples", str(args.latency_samples), "--runs", str(config.latency_runs)]
    measuring += ["--passes", str(config.latency_passes), "--seed", str(args.seed), "--threads", str(args.threads)]
    measuring += ["--output", str(run.measurements)]

    def measure() -> None:
        run.measurements.parent.mkdir(exist_ok=True)
        run.verb(measuring, "latency", ("measuring:",), ("reference", "the machine"))

    run.work.step("measure-latency", settings, [run.measurements], measure, continues=True)
    fitting = ["fit-latency", "--dataset", str(run.measurements), "--seed", str(args.seed)]
    fitting += ["--output", str(run.predictor)]
    settings = {"seed": args.seed, "after": token("measure-latency")}
    run.work.step(
        "fit-latency", settings, [run.predictor], lambda: run.verb(fitting, "latency", (), ("model", "noise"))
    )


def search(run: Run) -> None:
    """Searches under a latency limit."""
    limit, args, token = run.latency_limit, run.args, run.work.token
    settings = {
        "budget": args.budget,
        "seed": args.seed,
        "limit": limit,
        "predictor": token("fit-latency"),
        "after": token("average-supernet"),
    }
    arguments = ["search", str(run.data), "--path", str(run.supernet), "--algorithm", "evolution"]
    arguments += ["--budget", str(args.budget), "--seed", str(args.seed)]
    arguments += ["--latency-predictor", str(run.predictor), "--constraint", f"latency_ms<={limit}"]
    arguments += ["--output", str(run.search_dir)]

    def searched() -> None:
        run.verb(arguments, "search", ("search:",), ("measuring the", "measured"))

    run.work.step("search", settings, [run.search_dir], searched, continues=True)


def extract(run: Run) -> None:
    """Extracts the three subnets."""
    space = run.space()
    for name, architecture in (("largest", space.largest()), ("smallest", space.smallest())):
        run.architecture_file(name).parent.mkdir(exist_ok=True)
        architecture.save(run.architecture_file(name))

    def extracted(name: str) -> None:
        arguments = ["extract", "--path", str(run.supernet), "--data", str(run.data)]
        arguments += ["--architecture", str(run.architecture_file(name)), "--output", str(run.checkpoint(name))]
        lines: list[str] = []
        run.command("fairseq_mos.cli", arguments, "extract", on_line=lines.append)
        counts = next((line for line in lines if line.startswith("subnet:")), "")
        run.work.say(f"{name}: {' '.join(counts.removeprefix('subnet:').split())}")

    for name in SUBNETS:
        settings = {"after": run.work.token("search" if name == "found" else "average-supernet")}
        _step(run, "extract", name, settings, run.checkpoint(name).parent, extracted)


def validate(run: Run) -> None:
    """Measures all systems on the valid set."""

    def validated(name: str) -> None:
        arguments = [str(run.data), "--user-dir", "fairseq_mos", "--task", "translation"]
        arguments += ["--path", str(run.checkpoint(name)), "--valid-subset", "valid"]
        arguments += ["--max-tokens", str(run.config.max_tokens), "--num-workers", "0", "--log-format", "json"]
        lines: list[str] = []
        run.command("fairseq_cli.validate", arguments, "validate", on_line=lines.append)
        losses = re.findall(r'"valid_loss": "([^"]+)"', "\n".join(lines))
        if not losses:
            raise PipelineError("fairseq-validate printed no valid loss", 1)
        loss = float(losses[-1])
        write_text(run.valid_loss_file(name), json.dumps({"valid_loss": loss}) + "\n")
        run.work.say(f"{name}: valid loss {loss:.3f}")

    for name in run.names:
        _step(run, "validate", name, {"after": _origin(run, name)}, run.valid_loss_file(name), validated)


def profile(run: Run) -> None:
    """Counts parameters and FLOPs of every system, and measures its latency."""
    runs, threads = run.config.profile_runs, run.args.threads

    def profiled(name: str) -> None:
        arguments = ["profile", "--path", str(run.checkpoint(name)), "--data", str(run.data), "--latency"]
        arguments += ["--runs", str(runs), "--threads", str(threads), "--output", str(run.costs_file(name))]
        run.command("fairseq_mos.cli", arguments, "profile")
        found = run.costs(name)
        run.work.say(f"{name}: {found['median_ms']:.2f} ms ({found['low_ms']:.2f} to {found['high_ms']:.2f})")

    for name in run.names:
        settings = {"runs": runs, "threads": threads, "predictor": run.work.token("fit-latency")}
        _step(run, "profile", name, {**settings, "after": _origin(run, name)}, run.costs_file(name), profiled)


def translate(run: Run, pinned: bool) -> None:
    """Translates the test set.

    Args:
        run: the run.
        pinned: translate with the supernet and each architecture pinned, instead of with the dense systems.
    """

    def translated(name: str) -> None:
        begin, total, done = time.monotonic(), run.sentences(), 0
        task = ["--task", "translation", "--path", str(run.checkpoint(name))]
        if pinned:
            task = ["--task", "supernet_translation", "--architecture", str(run.architecture_file(name))]
            task += ["--path", str(run.supernet)]
        arguments = [str(run.data), "--user-dir", "fairseq_mos", *task, "--gen-subset", "test"]
        arguments += ["--beam", str(run.config.beam), "--max-tokens", str(run.config.generate_max_tokens)]
        arguments += ["--remove-bpe", "sentencepiece", "--num-workers", "0", "--log-format", "none"]
        paced = Paced(run.work.say)

        def count(line: str) -> None:
            nonlocal done
            if line.startswith("H-"):
                done += 1
                paced(f"{name}: {done:,} of {total:,} sentences")

        output = run.translation(name, pinned)
        run.command("fairseq_cli.generate", arguments, output.stem, on_line=count, stdout=output)
        run.work.say(f"{name}: {done:,} sentences in {duration(time.monotonic() - begin)}")

    for name in run.config.pinned if pinned else run.names:
        settings = {"beam": run.config.beam, "after": _origin(run, name)}
        if pinned:
            settings["supernet"] = run.work.token("average-supernet")
        kind = "translate-pinned" if pinned else "translate"
        _step(run, kind, name, settings, run.translation(name, pinned), translated)


def score(run: Run) -> None:
    """Scores all translations, and the untranslated sources, by `fairseq-mos evaluate`."""
    settings = {name: run.work.token(f"translate-{slug(name)}") for name in run.names}
    settings.update({f"cost of {name}": run.work.token(f"profile-{slug(name)}") for name in run.names})

    def scored() -> None:
        files = {COPY: run.text / f"test.{run.languages[0]}"}
        for name in run.names:
            files[name] = run.translation(name).with_suffix(".hyp")
            write_lines(files[name], [text for text, _ in run.hypotheses(name)])
        arguments = ["evaluate", "--hypotheses", *(f"{name}={files[name]}" for name in (*run.names, COPY))]
        arguments += ["--test-set", f"test={run.text / 'test.raw'}", "--output", str(run.scores_file.parent)]
        arguments += ["--source-lang", run.languages[0], "--target-lang", run.languages[1]]
        arguments += ["--metrics", "bleu,chrf", "--bootstrap", "0", "--paired", "none"]
        run.command("fairseq_mos.cli", arguments, "evaluate")
        # Translations that are given have no costs there; ours are known.
        rows = json.loads(run.scores_file.read_text("utf-8"))
        for row in rows:
            if row["system"] in run.names:
                cost = run.costs(row["system"])
                row["costs"] = {key: cost[key] for key in ("params", "params_no_embed", "flops")}
                row["costs"]["latency_ms"] = cost["median_ms"]
        write_text(run.scores_file, json.dumps(rows, indent=2) + "\n")

    run.work.step("score", settings, [run.scores_file], scored)


def write_page(run: Run) -> None:
    """Writes the page about the run."""
    before = ("score", "search", "train-supernet", *(f"train-{kind}" for kind in KINDS.values()))
    arguments = ["report", str(run.folder), "--output", str(run.page)]
    settings = {"after": [run.work.token(name) for name in before]}
    run.work.step("report", settings, [run.page], lambda: run.verb(arguments))


def differences(run: Run) -> dict[str, list[int]]:
    """Returns, for each pinned system, the sentences that supernet and subnet translate or score differently."""
    return {
        name: [i for i, (a, b) in enumerate(zip(run.hypotheses(name), run.hypotheses(name, pinned=True))) if a != b]
        for name in run.config.pinned
    }


def _step(run: Run, kind: str, name: str, settings: dict, output: Path, action: Callable[[str], None]) -> None:
    run.work.step(f"{kind}-{slug(name)}", settings, [output], lambda: action(name))


def _origin(run: Run, name: str) -> str:
    """What a dense system was made from."""
    return run.work.token(f"average-{KINDS[name]}" if name in KINDS else f"extract-{name}")
