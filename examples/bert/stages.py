"""The stages of the example, in order; each step is skipped when it is done already."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import time
from pathlib import Path

from pipeline import commands
from pipeline.config import PipelineError
from pipeline.training import TrainingProgress
from pipeline.vocabulary import train_model, write_dictionary
from pipeline.work import digest_files, duration, write_text

from bert import results, text, tuning
from bert.layout import Run, System

RECIPE = [
    *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--lr", "0.002", "--lr-scheduler", "inverse_sqrt"),
    *("--dropout", "0.0", "--attention-dropout", "0.0", "--max-tokens", "2048"),
    *("--sample-break-mode", "eos", "--tokens-per-sample", str(text.LONGEST + 2)),
    *("--no-epoch-checkpoints", "--save-interval", "1000000", "--validate-interval", "1000000", "--num-workers", "0"),
    *("--log-format", "json", "--log-interval", "20"),
]
"""fairseq-train's flags that supernets and trainings from scratch have in common."""


def run_stages(args: argparse.Namespace) -> Run:
    """Runs all stages that are not done yet and reports.

    Raises:
        PipelineError: bad input, or a command failed.
    """
    run = Run(args)
    with run.work:
        _do(run)
    return run


def _do(run: Run) -> None:
    args, work = run.args, run.work
    with work.log("run").open("a", encoding="utf-8") as log:
        log.write(f"$ {args.command}\n")
    print(f"Masked language models: supernets, subnets and training from scratch\nWorking in {run.folder}", flush=True)
    with work.stage("read the text, train the vocabulary, binarise"):
        _prepare(run)
    with work.stage(f"train {len(args.routings) * len(args.seeds)} supernets of {args.updates:,} updates"):
        for seed in args.seeds:
            for routing in args.routings:
                _train_supernet(run, routing, seed)
    with work.stage("search in a window of sizes"):
        _search(run)
    with work.stage("extract subnets"):
        for system in run.systems():
            if system.origin != "scratch":
                _extract(run, system)
    with work.stage("train subnets from scratch"):
        for system in run.systems():
            if system.origin == "scratch":
                _train_scratch(run, system)
    with work.stage("measure the loss on masked tokens"):
        for system in run.systems():
            _validate(run, system)
    if args.tasks:
        with work.stage(f"fine-tune on {', '.join(args.tasks)}"):
            tuning.tune_all(run)
    with work.stage("write the table, the picture and the page"):
        work.announce()
        results.report(run)
        page = ["report", str(run.folder), "--output", str(run.folder / "report.html")]
        run.command("fairseq_mos.cli", page, "report")
    print(f"elapsed: {duration(time.monotonic() - work.begin)}", flush=True)


def _prepare(run: Run) -> None:
    plain = run.folder / "text"
    settings = {"files": digest_files(run.files), "every": text.EVERY}

    def split() -> None:
        train, valid = text.write_splits(run.files, plain)
        run.work.say(f"{train:,} sentences to train on, {valid:,} to validate on")

    run.work.step("text", settings, [plain], split)
    settings = {"size": run.args.vocabulary, "after": run.work.token("text")}

    def vocabulary() -> None:
        train_model([plain / "train.txt"], run.model.with_suffix(""), run.args.vocabulary, run.work.say)
        write_dictionary(run.model, run.model.parent / "dict.txt")

    run.work.step("vocabulary", settings, [run.model.parent], vocabulary)

    def binarise() -> None:
        encoded = run.folder / "encoded"
        encoded.mkdir(exist_ok=True)
        arguments = ["--only-source", "--srcdict", str(run.model.parent / "dict.txt"), "--destdir", str(run.data)]
        for name in ("train", "valid"):
            long = text.encode(run.model, plain / f"{name}.txt", encoded / name)
            if long:
                run.work.say(f"{name}: {long:,} sentences of more than {text.LONGEST} pieces left out")
            arguments += [f"--{name}pref", str(encoded / name)]
        run.command("fairseq_cli.preprocess", [*arguments, "--workers", str(run.args.threads)], "preprocess")
        # Where extraction finds it.
        shutil.copyfile(run.model, run.data / "sentencepiece.bpe.model")

    run.work.step("binarise", {"after": run.work.token("vocabulary")}, [run.data], binarise)


def _train(run: Run, name: str, save_dir: Path, words: list[str], seed: int, after: dict) -> None:
    arguments = [str(run.data), "--user-dir", "fairseq_mos", *words, *RECIPE, "--seed", str(seed)]
    updates, warmup = run.args.updates, min(100, max(1, run.args.updates // 2))
    arguments += ["--max-update", str(updates), "--warmup-updates", str(warmup), "--save-dir", str(save_dir)]
    arguments += ["--save-interval-updates", str(max(1, updates // 10)), "--keep-interval-updates", "1"]
    flags = shlex.join(argument.replace(str(run.folder), "WORK") for argument in arguments)

    def train() -> None:
        run.work.say(commands.printable("fairseq_cli.train", arguments))
        run.command("fairseq_cli.train", arguments, name, on_line=TrainingProgress(run.work.say, updates, every=30.0))

    settings = {"flags": flags, "after": run.work.token("binarise"), **after}
    run.work.step(name, settings, [save_dir], train, continues=True)


def _train_supernet(run: Run, routing: str, seed: int) -> None:
    words = ["--task", "supernet_masked_lm", "--arch", "mos_roberta", "--search-space", run.args.space]
    words += ["--criterion", "supernet_masked_lm", "--routing", routing]
    # The largest, the smallest and a random one, each on as much as a subnet's update has.
    words += ["--arch-own-batches", "--update-freq", "3"]
    _train(run, f"supernet-{routing}-{seed}", run.supernet(routing, seed), words, seed, {})


def _train_scratch(run: Run, system: System) -> None:
    words = ["--task", "masked_lm", "--arch", "mos_roberta_subnet", "--criterion", "masked_lm"]
    words += ["--subnet", str(run.architecture(system.subnet))]
    after = {"architecture": digest_files([run.architecture(system.subnet)])}
    _train(run, f"train-{system.name}", run.checkpoint(system).parent, words, system.seed, after)


def _search(run: Run) -> None:
    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.families import family_of

    args, space = run.args, SearchSpace.load(run.args.space)
    family = family_of(space)
    sizing = family.sizing(vocabulary=_entries(run), positions=text.LONGEST + 4)
    low, high = (family.counts(arch, sizing)["params"] for arch in (space.smallest(), space.largest()))
    limits = [round(low + (high - low) * place) for place in (args.low, args.high)]
    for name, arch in (("largest", space.largest()), ("smallest", space.smallest())):
        run.architecture(name).parent.mkdir(exist_ok=True)
        arch.save(run.architecture(name))
    first = run.supernet(args.routings[0], args.seeds[0])
    arguments = ["search", str(run.data), "--path", str(first / "checkpoint_last.pt"), "--algorithm", "exhaustive"]
    arguments += ["--constraint", f"params>={limits[0]}", "--constraint", f"params<={limits[1]}"]
    arguments += ["--output", str(run.search)]
    after = run.work.token(f"supernet-{args.routings[0]}-{args.seeds[0]}")

    def search() -> None:
        run.work.say(commands.printable("fairseq_mos.cli", arguments))
        run.command("fairseq_mos.cli", arguments, "search")

    run.work.step("search", {"limits": limits, "after": after}, [run.search], search, continues=True)


def _entries(run: Run) -> int:
    # fairseq's four special entries and the mask.
    return len((run.data / "dict.txt").read_text("utf-8").splitlines()) + 5


def _extract(run: Run, system: System) -> None:
    supernet = run.supernet(system.origin, system.seed) / "checkpoint_last.pt"
    arguments = ["extract", "--path", str(supernet), "--data", str(run.data)]
    arguments += ["--architecture", str(run.architecture(system.subnet)), "--output", str(run.checkpoint(system))]
    after = [run.work.token(f"supernet-{system.origin}-{system.seed}"), run.work.token("search")]
    run.work.step(
        f"extract-{system.name}", {"after": after}, [run.checkpoint(system).parent],
        lambda: run.command("fairseq_mos.cli", arguments, "extract"),
    )  # fmt: skip


def _validate(run: Run, system: System) -> None:
    arguments = [
        str(run.data),
        "--user-dir",
        "fairseq_mos",
        "--task",
        "masked_lm",
        "--path",
        str(run.checkpoint(system)),
    ]
    arguments += ["--valid-subset", "valid", "--max-tokens", "2048", "--num-workers", "0", "--log-format", "json"]
    arguments += ["--sample-break-mode", "eos", "--tokens-per-sample", str(text.LONGEST + 2)]

    def validate() -> None:
        lines: list[str] = []
        run.command("fairseq_cli.validate", arguments, "validate", on_line=lines.append)
        losses = re.findall(r'"valid_loss": "([^"]+)"', "\n".join(lines))
        if not losses:
            raise PipelineError("fairseq-validate printed no valid loss", 1)
        write_text(run.loss_file(system), json.dumps({"loss": float(losses[-1])}) + "\n")
        run.work.say(f"{system.name}: {losses[-1]} bits per masked token")

    run.work.step(f"validate-{system.name}", {"after": run.origin_token(system)}, [run.loss_file(system)], validate)
