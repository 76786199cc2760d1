"""The steps of prepare.sh: announce, fetch, clean, learn subwords, encode, binarise."""

from __future__ import annotations

import argparse
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.commands import printable
from pipeline.commands import run as run_command
from pipeline.config import PipelineError
from pipeline.text import write_lines
from pipeline.vocabulary import write_dictionary
from pipeline.work import Work

from corpora.cleaning import clean, tidy
from corpora.reading import segments, source_pairs, text_pairs, unpack
from corpora.recipes import Recipe

SPLITS = ("train", "valid", "test")
MODEL = "sentencepiece.bpe.model"
_MAX_PIECES = {"train": 250, "valid": 250, "test": 1000}


class Preparation:
    """One run of a recipe.

    Args:
        name: of the recipe.
        recipe: what to do.
        args: the parsed flags.

    Raises:
        PipelineError: the work folder cannot be used, the disk is too small, or `--from` lacks what is needed.
    """

    def __init__(self, name: str, recipe: Recipe, args: argparse.Namespace):
        self.name, self.recipe, self.args = name, recipe, args
        self.languages = (recipe.source_lang, recipe.target_lang)
        self.given = _given_text(args.source, self.languages) if args.source else {}
        self.archives = {} if self.given else self._archives()
        if not args.no_disk_check:
            self._check_disk()
        self.work = Work(args.output, 5)
        self.folder: Path = args.output
        self.text, self.encoded, self.data = (self.folder / part for part in ("text", "encoded", "data-bin"))
        self.model = self.folder / "subwords" / MODEL

    def _archives(self) -> dict[str, Path]:
        """Returns where each corpus is or will be downloaded to."""
        found = {}
        for source in self.recipe.sources:
            there = self.args.source / source.file if self.args.source else None
            if there is not None and not there.is_file():
                pair = " and ".join(f"train.{language}" for language in self.languages)
                raise PipelineError(f"{self.args.source} has neither {pair} nor {source.file}")
            found[source.name] = there or self.args.output / "downloads" / source.file
        return found

    def _check_disk(self) -> None:
        missing = [s for s in self.recipe.sources if s.name in self.archives and not self.archives[s.name].exists()]
        download = sum(source.gigabytes for source in missing)
        # A trial still downloads whole archives, but writes little.
        work = self.recipe.gigabytes if self.args.limit is None and not self.given else 0.1
        folder = next(path for path in (self.args.output, *self.args.output.parents) if path.is_dir())
        free = shutil.disk_usage(folder).free / 1e9
        print(
            f"{self.recipe.title}\nDownloads: {download:.1f} GB; disk space for the rest: about {work:.1f} GB; free in "
            f"{folder}: {free:.1f} GB",
            flush=True,
        )
        if free < download + work:
            raise PipelineError(
                f"{folder} has {free:.1f} GB free, about {download + work:.1f} GB are needed: give another --output, a "
                "--limit, or --no-disk-check"
            )

    def run(self) -> None:
        """Does all that is not done yet, and prints what to do next."""
        work = self.work
        with work.stage("download"):
            work.step("download", {"files": sorted(map(str, self.archives.values()))}, [], self._download)
        with work.stage("clean"):
            recipe = self.recipe
            settings = {
                "limit": self.args.limit,
                "given": sorted(str(path) for pair in self.given.values() for path in pair),
                "rules": [recipe.max_words, recipe.max_ratio, recipe.lowercase, str(recipe.valid), recipe.test],
                "after": work.token("download"),
            }
            work.step("clean", settings, [self.text], self._clean)
        with work.stage(f"learn {self.args.vocabulary:,} subwords"):
            settings = {"vocabulary": self.args.vocabulary, "after": work.token("clean")}
            work.step("subwords", settings, [self.model.parent], self._learn)
        with work.stage("encode"):
            work.step("encode", {"after": work.token("subwords")}, [self.encoded], self._encode)
        with work.stage("binarise"):
            work.step("binarise", {"after": work.token("encode")}, [self.data], self._binarise)
        print(f"ready: {self.data} (subword model beside the dictionaries), raw test text: {self.text}/test.raw.*")
        print("next:\n  " + self.next_command())

    def next_command(self) -> str:
        """Returns the command that trains a supernet on the data."""
        return f"fairseq-hydra-train --config-dir configs/train --config-name {self.name}_supernet_1gpu " + (
            f"task.data={self.data} common.user_dir=$PWD/fairseq_mos"
        )

    def _download(self) -> None:
        from fairseq_mos.download import download
        from fairseq_mos.errors import UserError

        for source in self.recipe.sources:
            if source.name in self.archives and not self.archives[source.name].exists():
                self.work.say(f"{source.url} (about {source.gigabytes} GB)")
                try:
                    download(source.url, self.archives[source.name])
                except UserError as error:
                    raise PipelineError(str(error)) from error

    def _raw_train(self) -> Iterator[tuple[str, str]]:
        if self.given:
            yield from itertools.islice(text_pairs(list(self.given["train"])), self.args.limit)
            return
        for source in self.recipe.sources:
            scratch = self.folder / "unpacked" / source.name
            pairs = source_pairs(source, self.archives[source.name], self.languages, scratch)
            yield from itertools.islice(pairs, self.args.limit)
            # A trial may have stopped reading early; either way the archive stays.
            shutil.rmtree(scratch, ignore_errors=True)

    def _clean(self) -> None:
        from tqdm import tqdm

        recipe, dropped = self.recipe, Counter()
        held_out = {split: self._held_out(split) for split in ("valid", "test")}
        every = recipe.valid if held_out["valid"] is None else 0
        if every and self.args.limit:
            # A trial should have something to validate on.
            every = min(every, max(5, self.args.limit // 20))
        pairs = clean(self._raw_train(), recipe.max_words, recipe.max_ratio, recipe.lowercase, dropped)
        counts = Counter()
        self.text.mkdir(parents=True)
        streams = {
            (split, language): open(self.text / f"{split}.{language}", "w", encoding="utf-8", newline="\n")  # noqa: SIM115
            for split in (("train", "valid") if every else ("train",))
            for language in self.languages
        }
        try:
            for number, pair in enumerate(tqdm(pairs, unit="pair", unit_scale=True, desc="cleaning"), 1):
                split = "valid" if every and number % every == 0 else "train"
                counts[split] += 1
                for language, line in zip(self.languages, pair):
                    streams[split, language].write(f"{line}\n")
        finally:
            for stream in streams.values():
                stream.close()
        for split, sides in held_out.items():
            if sides is not None:
                counts[split] = len(sides[0])
                for language, lines in zip(self.languages, sides):
                    write_lines(self.text / f"{split}.{language}", [tidy(line, recipe.lowercase) for line in lines])
                    raw = [line.lower() for line in lines] if recipe.lowercase else lines
                    write_lines(self.text / f"{split}.raw.{language}", raw)
        for reason, number in dropped.items():
            self.work.say(f"{number:,} training pairs left out: {reason}")
        self.work.say(", ".join(f"{split} {counts[split]:,}" for split in SPLITS) + " pairs")
        empty = next((split for split in SPLITS if not counts[split]), None)
        if empty:
            raise PipelineError(
                f"no pair is left for {empty}: give more text" + (" or a larger --limit" if self.args.limit else "")
            )

    def _held_out(self, split: str) -> tuple[list[str], list[str]] | None:
        """Returns a split's raw sides; None where it is taken out of the training text."""
        from fairseq_mos.errors import UserError
        from fairseq_mos.metrics.testsets import load_test_set

        if split in self.given:
            return tuple(list(side) for side in zip(*text_pairs(list(self.given[split]))))
        name = self.recipe.valid if split == "valid" else self.recipe.test
        if isinstance(name, int):
            return None
        if not name and self.archives:
            archive, scratch = self.archives[self.recipe.sources[0].name], self.folder / "unpacked" / "test"
            sides = [
                [
                    line
                    for member in self.recipe.test_members
                    for line in segments(unpack(archive, member.format(lang=language), scratch))
                ]
                for language in self.languages
            ]
            if len(sides[0]) != len(sides[1]):
                raise PipelineError(f"{archive}: its test sets have {len(sides[0])} and {len(sides[1])} sentences")
            return tuple(sides)
        if not name:
            raise PipelineError(
                f"--from {self.args.source} has no test.{self.languages[0]} and test.{self.languages[1]}"
            )
        try:
            found = load_test_set(name, *self.languages)
        except UserError as error:
            files = " and ".join(f"{split}.{language}" for language in self.languages)
            raise PipelineError(f"{error}; or put {files} into the folder of --from") from error
        return found.sources, found.references[0]

    def _learn(self) -> None:
        import sentencepiece

        self.model.parent.mkdir(parents=True)
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=[str(self.text / f"train.{language}") for language in self.languages],
                model_prefix=str(self.model.with_suffix("")),
                vocab_size=self.args.vocabulary,
                model_type="bpe",
                character_coverage=0.9999,
                # Enough to learn subwords from, and what fits into memory.
                input_sentence_size=5_000_000,
                shuffle_input_sentence=True,
                num_threads=self.args.workers,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-160:]
            raise PipelineError(f"--vocabulary {self.args.vocabulary} does not suit this text: {reason}") from error
        write_dictionary(self.model, self.model.parent / "dict.txt")

    def _encode(self) -> None:
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(self.model))
        self.encoded.mkdir(parents=True)
        for split in SPLITS:
            files = [self.text / f"{split}.{language}" for language in self.languages]
            outputs = [open(self.encoded / file.name, "w", encoding="utf-8", newline="\n") for file in files]  # noqa: SIM115
            long = 0
            try:
                pairs = text_pairs(files)
                while batch := list(itertools.islice(pairs, 100_000)):
                    sides = [
                        processor.encode(list(side), out_type=str, num_threads=self.args.workers)
                        for side in zip(*batch)
                    ]
                    for pair in zip(*sides):
                        if max(map(len, pair)) > _MAX_PIECES[split]:
                            long += 1
                            if split != "test":
                                continue
                            # No test sentence may vanish.
                            pair = tuple(pieces[: _MAX_PIECES[split]] for pieces in pair)
                        for output, pieces in zip(outputs, pair):
                            output.write(" ".join(pieces) + "\n")
            finally:
                for output in outputs:
                    output.close()
            if long:
                done = "cut" if split == "test" else "left out"
                self.work.say(f"{split}: {long:,} pairs of more than {_MAX_PIECES[split]} subwords {done}")

    def _binarise(self) -> None:
        arguments = ["--source-lang", self.languages[0], "--target-lang", self.languages[1]]
        for split in SPLITS:
            arguments += [f"--{split}pref", str(self.encoded / split)]
        if self.recipe.joined:
            arguments += ["--joined-dictionary", "--srcdict", str(self.model.parent / "dict.txt")]
        arguments += ["--destdir", str(self.data), "--workers", str(self.args.workers)]
        self.work.say(printable("fairseq_cli.preprocess", arguments))
        run_command("fairseq_cli.preprocess", arguments, self.work.log("preprocess"), self.args.workers)
        shutil.copyfile(self.model, self.data / MODEL)


def _given_text(folder: Path, languages: tuple[str, str]) -> dict[str, tuple[Path, Path]]:
    """Returns split -> files of plain text in a folder; empty where it holds no training text.

    Raises:
        PipelineError: one side of a split is missing.
    """
    found = {}
    for split in SPLITS:
        pair = [
            next((p for p in (folder / f"{split}.{lang}", folder / f"{split}.{lang}.gz") if p.is_file()), None)
            for lang in languages
        ]
        if all(pair):
            found[split] = tuple(pair)
        elif any(pair):
            raise PipelineError(f"{folder} has no {split}.{languages[pair.index(None)]}, only the other side")
    return found if "train" in found else {}
