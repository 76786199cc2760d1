"""The stages up to trained models: corpus, vocabulary, binarised data, training."""

from __future__ import annotations

import shlex
import shutil
from importlib import metadata
from pathlib import Path

from pipeline import text, training, vocabulary
from pipeline.commands import printable
from pipeline.config import PipelineError
from pipeline.layout import Run
from pipeline.work import digest_files


def prepare_corpus(run: Run) -> None:
    """Composes the built-in corpus where no folder is given; checks and normalises the text."""
    corpus, folder, target = run.corpus, run.config.folder, run.args.target_lang
    if corpus is None:
        raw = run.folder / "raw"
        arguments = ["--output", str(raw), "--target-lang", target]
        sources = digest_files(sorted(folder.glob("*.py")))
        run.work.step(
            "compose",
            {"target": target, "babel": metadata.version("babel"), "files": sources},
            [raw],
            lambda: run.command(str(folder / "corpus.py"), arguments, "corpus"),
        )
        corpus = text.find_corpus(raw, run.config, *run.languages)
    settings = {
        "languages": run.languages,
        "files": digest_files(corpus.paths()),
    }
    run.work.step("corpus", settings, [run.text], lambda: _normalise(run, corpus))


def _normalise(run: Run, corpus: text.RawCorpus) -> None:
    counts = text.prepare(corpus, run.text)
    dropped = f"; {counts['dropped']:,} pairs with an empty side left out" if counts["dropped"] else ""
    sizes = ", ".join(f"{split} {counts[split]:,}" for split in text.SPLITS)
    run.work.say(f"{'-'.join(run.languages)}: {sizes} pairs{dropped}")


def make_vocabulary(run: Run) -> None:
    """Trains sentencepiece on both sides of the training text."""
    settings = {"vocabulary": run.args.vocabulary, "after": run.work.token("corpus")}
    run.work.step("vocabulary", settings, [run.model.parent], lambda: _train_vocabulary(run))


def _train_vocabulary(run: Run) -> None:
    texts = [run.text / f"train.{language}" for language in run.languages]
    size = vocabulary.train_model(texts, run.model.with_suffix(""), run.args.vocabulary, run.work.say)
    vocabulary.write_dictionary(run.model, run.model.parent / "dict.txt")
    run.work.say(f"{size:,} entries for both languages")


def binarise(run: Run) -> None:
    """Encodes the text and runs fairseq-preprocess."""
    encoded = run.folder / "encoded"
    settings = {"after": run.work.token("vocabulary")}
    run.work.step("binarise", settings, [encoded, run.data], lambda: _binarise(run, encoded))


def _binarise(run: Run, encoded: Path) -> None:
    encoded.mkdir()
    for split, longest in vocabulary.MAX_PIECES.items():
        sides = [text.read_lines(run.text / f"{split}.{language}") for language in run.languages]
        files = [encoded / f"{split}.{language}" for language in run.languages]
        written, long = vocabulary.encode(run.model, zip(*sides), files, longest, cut=split == "test")
        if not written:
            raise PipelineError(f"{run.text}: every pair of {split} is longer than {longest} pieces")
        if long:
            done = "cut" if split == "test" else "left out"
            run.work.say(f"{split}: {long:,} pairs of more than {longest} pieces {done}")
    arguments = ["--source-lang", run.languages[0], "--target-lang", run.languages[1]]
    for split in text.SPLITS:
        arguments += [f"--{split}pref", str(encoded / split)]
    arguments += ["--joined-dictionary", "--srcdict", str(run.model.parent / "dict.txt")]
    arguments += ["--destdir", str(run.data), "--workers", str(run.args.threads)]
    run.command("fairseq_cli.preprocess", arguments, "preprocess")
    # Where extraction finds it, and under the name that torch.hub's interface knows.
    shutil.copyfile(run.model, run.data / "sentencepiece.bpe.model")


def train(run: Run, kind: str) -> None:
    """Trains a model, then averages its last checkpoints.

    Args:
        run: the run.
        kind: one of :data:`pipeline.training.KINDS`.
    """
    averaged = run.averaged(kind)
    save_dir = averaged.parent / "checkpoints"
    updates = run.updates(kind)
    subnet, weights = run.architecture_file("found"), run.checkpoint("found")
    arguments = training.train_arguments(
        run.config, run.data, save_dir, run.languages, updates, run.args.seed, kind, subnet, weights
    )
    settings = {
        # A moved work folder is still the same run.
        "flags": shlex.join(argument.replace(str(run.folder), "WORK") for argument in arguments),
        "after": run.work.token("binarise"),
    }
    if kind == "supernet":
        settings["space"] = run.space().digest()
    elif kind != "stock":
        settings["found"] = run.work.token("extract-found")

    def trained() -> None:
        run.work.say(printable("fairseq_cli.train", arguments))
        progress = training.TrainingProgress(run.work.say, updates)
        run.command("fairseq_cli.train", arguments, f"train-{kind}", on_line=progress)

    def average() -> None:
        inputs = [str(path) for path in training.last_checkpoints(save_dir, run.config.average)]
        averaging = ["average", "--inputs", *inputs, "--output", str(averaged)]
        run.command("fairseq_mos.cli", averaging, f"average-{kind}")

    run.work.step(f"train-{kind}", settings, [save_dir], trained, continues=True)
    settings = {"average": run.config.average, "after": run.work.token(f"train-{kind}")}
    run.work.step(f"average-{kind}", settings, [averaged], average)
