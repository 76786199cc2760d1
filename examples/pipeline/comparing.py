"""The stages after training: latency, search, extraction, validation and translation."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pipeline import systems
from pipeline.commands import printable
from pipeline.layout import KINDS, Paced, Run, slug
from pipeline.scoring import differing
from pipeline.work import duration, write_text


def measure_latency(run: Run) -> None:
    """Measures random subnets, and fits the latency predictor to them."""
    from fairseq_mos.cost.latency import device_name

    settings = {
        "samples": run.args.latency_samples,
        "runs": run.config.latency_runs,
        # Left out where it is one, so that older work folders still count.
        **({"passes": run.config.latency_passes} if run.config.latency_passes > 1 else {}),
        "seed": run.args.seed,
        "threads": run.args.threads,
        # In a work folder that moved to another machine, these steps are done again.
        "device": device_name("cpu"),
        "after": run.work.token("average-supernet"),
    }
    run.work.step(
        "measure-latency", settings, [run.measurements], lambda: _measure_latency(run), continues=True
    )
    run.work.step(
        "fit-latency",
        {"seed": run.args.seed, "after": run.work.token("measure-latency")},
        [run.predictor],
        lambda: _fit_latency(run),
    )


def _measure_latency(run: Run) -> None:
    run.measurements.parent.mkdir(exist_ok=True)
    arguments = ["latency-dataset", "--path", str(run.supernet), "--data", str(run.data)]
    arguments += ["--samples", str(run.args.latency_samples), "--runs", str(run.config.latency_runs)]
    arguments += ["--passes", str(run.config.latency_passes)]
    arguments += ["--seed", str(run.args.seed), "--threads", str(run.args.threads)]
    arguments += ["--output", str(run.measurements)]
    _run_showing(run, arguments, "latency", ("measuring:",), ("reference", "the machine"))


def _fit_latency(run: Run) -> None:
    arguments = ["fit-latency", "--dataset", str(run.measurements), "--seed", str(run.args.seed)]
    arguments += ["--output", str(run.predictor)]
    _run_showing(run, arguments, "latency", (), ("model", "noise"))


def _run_showing(
    run: Run, arguments: list[str], log: str, progress: tuple[str, ...], results: tuple[str, ...]
) -> None:
    """Says a command and runs it; passes on lines of progress now and then, and all lines of results."""
    run.work.say(printable("fairseq_mos.cli", arguments))
    paced = Paced(run.work.say)

    def show(line: str) -> None:
        if line.startswith(results):
            run.work.say(line.strip())
        elif line.startswith(progress):
            paced(line)

    run.command("fairseq_mos.cli", arguments, log, on_line=show)


def search(run: Run) -> None:
    """Searches under a latency limit."""
    settings = {
        "budget": run.args.budget,
        "seed": run.args.seed,
        "limit": run.latency_limit,
        "predictor": run.work.token("fit-latency"),
        "after": run.work.token("average-supernet"),
    }
    run.work.step("search", settings, [run.search_dir], lambda: _search(run), continues=True)


def _search(run: Run) -> None:
    arguments = ["search", str(run.data), "--path", str(run.supernet), "--algorithm", "evolution"]
    arguments += ["--budget", str(run.args.budget), "--seed", str(run.args.seed)]
    arguments += ["--latency-predictor", str(run.predictor), "--constraint", f"latency_ms<={run.latency_limit}"]
    arguments += ["--output", str(run.search_dir)]
    _run_showing(run, arguments, "search", ("search:",), ("measured",))


def profile(run: Run) -> None:
    """Measures the latency of every system."""
    for name in run.names:
        settings = {
            "runs": run.config.profile_runs,
            "threads": run.args.threads,
            "predictor": run.work.token("fit-latency"),
            "after": _origin(run, name),
        }
        run.work.step(
            f"profile-{slug(name)}", settings, [run.latency_file(name)], lambda name=name: _profile(run, name)
        )


def _profile(run: Run, name: str) -> None:
    arguments = ["profile", "--path", str(run.checkpoint(name)), "--data", str(run.data), "--latency"]
    arguments += ["--runs", str(run.config.profile_runs), "--threads", str(run.args.threads)]
    arguments += ["--output", str(run.latency_file(name))]
    run.command("fairseq_mos.cli", arguments, "profile")
    latency = run.latency(name)
    run.work.say(f"{name}: {latency['median_ms']:.2f} ms ({latency['low_ms']:.2f} to {latency['high_ms']:.2f})")


def extract(run: Run) -> None:
    """Extracts the three subnets."""
    space = run.space()
    for name, architecture in (("largest", space.largest()), ("smallest", space.smallest())):
        run.architecture_file(name).parent.mkdir(exist_ok=True)
        architecture.save(run.architecture_file(name))
    for name in systems.SUBNETS:
        settings = {"after": run.work.token("search" if name == "found" else "average-supernet")}
        run.work.step(
            f"extract-{name}",
            settings,
            [run.checkpoint(name).parent],
            lambda name=name: _extract(run, name),
        )


def validate(run: Run) -> None:
    """Measures all systems on the valid set."""
    for name in run.names:
        run.work.step(
            f"validate-{slug(name)}",
            {"after": _origin(run, name)},
            [run.valid_loss_file(name)],
            lambda name=name: _validate(run, name),
        )


def _extract(run: Run, name: str) -> None:
    arguments = ["extract", "--path", str(run.supernet), "--data", str(run.data)]
    arguments += ["--architecture", str(run.architecture_file(name)), "--output", str(run.checkpoint(name))]
    lines: list[str] = []
    run.command("fairseq_mos.cli", arguments, "extract", on_line=lines.append)
    counts = next((line for line in lines if line.startswith("subnet:")), "")
    run.work.say(f"{name}: {' '.join(counts.removeprefix('subnet:').split())}")


def _origin(run: Run, name: str) -> str:
    """What a dense system was made from."""
    return run.work.token(f"average-{KINDS[name]}" if name in KINDS else f"extract-{name}")


def _validate(run: Run, name: str) -> None:
    lines: list[str] = []
    arguments = systems.validate_arguments(run.data, run.checkpoint(name), run.config.max_tokens)
    run.command("fairseq_cli.validate", arguments, "validate", on_line=lines.append)
    loss = systems.read_valid_loss("\n".join(lines))
    write_text(run.valid_loss_file(name), json.dumps({"valid_loss": loss}) + "\n")
    run.work.say(f"{name}: valid loss {loss:.3f}")


def translate(run: Run, pinned: bool) -> None:
    """Translates the test set.

    Args:
        run: the run.
        pinned: translate with the supernet and each architecture pinned, instead of with the dense systems.
    """
    for name in run.config.pinned if pinned else run.names:
        output = run.translation(name, pinned)
        settings = {"beam": run.config.beam, "after": _origin(run, name)}
        if pinned:
            settings["supernet"] = run.work.token("average-supernet")
        run.work.step(
            f"translate-{output.stem}",
            settings,
            [output],
            lambda name=name, output=output: _translate(run, name, output, pinned),
        )


def _translate(run: Run, name: str, output: Path, pinned: bool) -> None:
    begin, total = time.monotonic(), len(run.references())
    arguments = systems.generate_arguments(
        run.data,
        run.supernet if pinned else run.checkpoint(name),
        run.config.beam,
        run.config.generate_max_tokens,
        run.architecture_file(name) if pinned else None,
    )
    done = 0
    paced = Paced(run.work.say)

    def count(line: str) -> None:
        nonlocal done
        if line.startswith("H-"):
            done += 1
            paced(f"{name}: {done:,} of {total:,} sentences")

    run.command("fairseq_cli.generate", arguments, output.stem, on_line=count, stdout=output)
    run.work.say(f"{name}: {done:,} sentences in {duration(time.monotonic() - begin)}")


def differences(run: Run) -> dict[str, list[int]]:
    """Returns, for each pinned system, the sentences that supernet and subnet translate differently."""
    return {
        name: differing(run.hypotheses(name), run.hypotheses(name, pinned=True)) for name in run.config.pinned
    }
