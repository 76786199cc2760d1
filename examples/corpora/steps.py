"""The steps of prepare.sh: announce, fetch, clean, learn subwords, encode, binarise."""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands import printable
from pipeline.commands import run as run_command
from pipeline.config import PipelineError
from pipeline.text import write_lines
from pipeline.vocabulary import encode
from pipeline.work import Work

from corpora.cleaning import clean, tidy
from corpora.disk import check_space, download_size, present_size, size_text, work_size
from corpora.encoding import learn
from corpora.reading import SPLITS, DamagedFile, given_text, segments, source_pairs, text_pairs, unpack
from corpora.recipes import MAX_PIECES, Recipe

MODEL = "sentencepiece.bpe.model"


@dataclass(frozen=True)
class Step:
    """What the work folder remembers as done or not: its settings decide whether it is done again."""

    name: str
    title: str
    settings: dict
    outputs: list[Path]
    action: Callable[[], None]


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
        self.given = given_text(args.source, self.languages) if args.source else {}
        self.archives = {} if self.given else self._archives()
        self.folder: Path = args.output
        self.text, self.encoded, self.data = (self.folder / part for part in ("text", "encoded", "data-bin"))
        self.unpacked, self.model = self.folder / "unpacked", self.folder / "subwords" / MODEL
        self._announce()
        self.work = Work(args.output, 5)

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

    def _steps(self) -> list[Step]:
        """Returns the steps after the download."""
        recipe, args = self.recipe, self.args
        settings = {
            "limit": args.limit,
            "rules": [recipe.max_words, recipe.max_ratio, recipe.lowercase, str(recipe.valid), recipe.test],
            "files": self._stamps(),
        }
        return [
            Step("clean", "clean", settings, [self.text], self._clean),
            Step("subwords", f"learn {args.vocabulary:,} subwords", {"vocabulary": args.vocabulary},
                 [self.model.parent], self._learn),
            Step("encode", "encode", {}, [self.encoded], self._encode),
            Step("binarise", "binarise", {}, [self.data], self._binarise),
        ]  # fmt: skip

    def _stamps(self) -> list[list]:
        """Returns name, size and time of change of all files that are read.

        A download that was removed to save space counts as what it was.
        """
        before = {stamp[0]: stamp for stamp in self._state("clean").get("settings", {}).get("files", [])}
        found = []
        for path in sorted([*itertools.chain.from_iterable(self.given.values()), *self.archives.values()]):
            if path.exists():
                found.append([path.name, path.stat().st_size, path.stat().st_mtime_ns])
            else:
                found.append(before.get(path.name, [path.name, 0, 0]))
        return found

    def _state(self, name: str) -> dict:
        """Returns what the work folder remembers of a step."""
        try:
            return json.loads((self.folder / "state" / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def _pending(self) -> list[Step]:
        """Returns the steps that :meth:`run` would do: the first that is not done, and all after it."""
        steps, after = self._steps(), ""
        for place, step in enumerate(steps):
            state = self._state(step.name)
            same = state.get("settings") == {**step.settings, "after": after} and state.get("done")
            if not (same and all(path.exists() for path in step.outputs)):
                return steps[place:]
            after = state["token"]
        return []

    def _missing(self) -> dict[str, Path]:
        """Returns the archives that are to be downloaded: only cleaning reads them."""
        cleans = any(step.name == "clean" for step in self._pending())
        return {name: path for name, path in self.archives.items() if cleans and not path.exists()}

    def _announce(self) -> None:
        """Says what will be needed, and stops where the disk has not enough."""
        download = work = 0.0
        if self._pending():
            download = download_size(self.recipe, self._missing())
            work = work_size(self.recipe, itertools.chain.from_iterable(self.given.values()), self.args.limit)
            there = (self.text, self.model.parent, self.encoded, self.data, self.unpacked)
            work = max(0, work - present_size(there))
        free = check_space(self.folder, download + work, bool(self._pending()) and not self.args.no_disk_check)
        print(
            f"{self.recipe.title}\nDownloads: {size_text(download)}; disk space for the rest: about {size_text(work)}; "
            f"{free}",
            flush=True,
        )

    def run(self) -> None:
        """Does all that is not done yet, and prints what to do next."""
        after = ""
        with self.work as work:
            with work.stage("download"):
                # Not a step that is remembered: what counts is whether the files are there when they are read.
                if self._missing():
                    work.announce()
                    self._download()
            for step in self._steps():
                with work.stage(step.title):
                    work.step(step.name, {**step.settings, "after": after}, step.outputs, step.action)
                after = work.token(step.name)
        print(f"ready: {self.data} (subword model beside the dictionaries), raw test text: {self.text}/test.raw.*")
        print("next:\n  " + "\nand, with a subnet:\n  ".join(self.next_commands()))

    def next_commands(self) -> list[str]:
        """Returns the command that trains a supernet on the data, and the one that scores a subnet."""
        published = self.recipe.test and "test" not in self.given
        sets = [self.recipe.test, *self.recipe.newer] if published else [str(self.text / "test.raw")]
        return [
            f"bash examples/{self.name}/train.sh supernet --data {shlex.quote(str(self.data))}",
            f"fairseq-mos evaluate --path subnet/model.pt --test-set {shlex.join(sets)} {self.recipe.decoding} "
            "--output scores",
        ]

    def _download(self) -> None:
        from fairseq_mos.download import download
        from fairseq_mos.errors import UserError

        missing = self._missing()
        for source in self.recipe.sources:
            if source.name in missing:
                self.work.say(f"{source.url} (about {size_text(source.gigabytes * 1e9)})")
                try:
                    download(source.url, missing[source.name])
                except UserError as error:
                    raise PipelineError(str(error)) from error

    def _raw_train(self, dropped: Counter) -> Iterator[tuple[str, str]]:
        if self.given:
            yield from itertools.islice(text_pairs(list(self.given["train"])), self.args.limit)
            return
        for source in self.recipe.sources:
            scratch = self.unpacked / source.name
            pairs = source_pairs(source, self.archives[source.name], self.languages, scratch, dropped)
            yield from itertools.islice(pairs, self.args.limit)
            # A trial may have stopped reading early; either way the archive stays.
            shutil.rmtree(scratch, ignore_errors=True)

    def _clean(self) -> None:
        # What an interrupted run has unpacked may be from other archives.
        shutil.rmtree(self.unpacked, ignore_errors=True)
        try:
            self._write_text()
        except DamagedFile as error:
            given = self.args.source is not None
            advice = "put a whole one into --from" if given else "remove it, then run again to download it anew"
            raise PipelineError(f"{error}: {advice}") from error
        finally:
            shutil.rmtree(self.unpacked, ignore_errors=True)

    def _write_text(self) -> None:
        from tqdm import tqdm

        recipe, dropped = self.recipe, Counter()
        held_out = {split: self._held_out(split) for split in ("valid", "test")}
        every = recipe.valid if held_out["valid"] is None else 0
        if every and self.args.limit:
            # A trial should have something to validate on.
            every = min(every, max(5, self.args.limit // 20))
        pairs = clean(self._raw_train(dropped), recipe.max_words, recipe.max_ratio, recipe.lowercase, dropped)
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
            pairs = list(text_pairs(list(self.given[split])))
            if not pairs:
                raise PipelineError(f"{self.given[split][0]} is empty")
            return tuple(list(side) for side in zip(*pairs))
        name = self.recipe.valid if split == "valid" else self.recipe.test
        if isinstance(name, int):
            return None
        if not name and self.archives:
            archive, scratch = self.archives[self.recipe.sources[0].name], self.unpacked / "test"
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
        learn([self.text / f"train.{language}" for language in self.languages], self.model, self.args)

    def _encode(self) -> None:
        self.encoded.mkdir(parents=True)
        for split in SPLITS:
            files = [self.text / f"{split}.{language}" for language in self.languages]
            outputs = [self.encoded / file.name for file in files]
            pairs, longest = text_pairs(files), MAX_PIECES[split]
            _, long = encode(self.model, pairs, outputs, longest, split == "test", self.args.workers)
            if long:
                done = "cut" if split == "test" else "left out"
                self.work.say(f"{split}: {long:,} pairs of more than {longest} subwords {done}")

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
