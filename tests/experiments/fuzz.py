"""Fuzzes every verb with flags, YAML, JSON and checkpoints that hypothesis thinks of; pytest does not collect it.

    python tests/experiments/fuzz.py --minutes 30

Each run of a verb has to end with exit code 0, or with 2 and one line, within 60 seconds; what does otherwise is
printed with how to repeat it, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import sentencepiece  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fairseq_mos.cli import VERBS, build_parser, main  # noqa: E402
from tests.cli.test_bad_input import GOOD, PATHS  # noqa: E402
from tests.fairseq_commands import run_steps  # noqa: E402
from tests.report.runs import INNER, RESULTS, SCORES, VALID, put  # noqa: E402
from tests.small import small_supernet  # noqa: E402
from tests.supernet_commands import load  # noqa: E402

SECONDS = 60
NASTY = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63), 10**20, 10**400, 0.5, -0.0, 1e308),
            *(float("nan"), float("inf"), "", " ", "\0", "\n", "\ud800", "${oc.env:HOME}", "___", "a" * 5000, "../.."),
            *("{", "-1", "1e999", "largest", "random:1", "__import__('os').system('touch WITNESS')"),
            *([], {}, [[]], {"a": {}}),
        ]  # fmt: skip
    ),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.lists(st.integers(-5, 100), max_size=3),
)


def places(data: object, before: tuple = ()) -> list[tuple]:
    """Returns where something stands in nested data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for name, item in items for place in [(*before, name), *places(item, (*before, name))]]


def changed(draw, data):
    """Returns the data with one to three values replaced, removed or repeated elsewhere."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 3))):
        known = places(data)
        if not known:
            break
        *parents, last = draw(st.sampled_from(known))
        holder = data
        for name in parents:
            holder = holder[name]
        if draw(st.booleans()):
            holder[last] = draw(NASTY)
        elif isinstance(holder, dict):
            del holder[last]
        else:
            holder.append(holder[last])
    return data


class Folder:
    """A folder with good files of every kind, and one bad file at a time."""

    def __init__(self, path: Path):
        self.path = path
        small = small_supernet(path)
        self.state = load(path / "supernet.pt")
        self.state["cfg"]["criterion"] = {"_name": "cross_entropy", "sentence_avg": False}
        torch.save(self.state, path / "supernet.pt")
        self.space = small.space.to_dict()
        self.architecture = small.space.smallest().to_dict()
        quiet(["latency-dataset", "--path", small.path, "--samples", "20", "--runs", "4", "--warmup", "0",
               "--output", str(path / "data.jsonl")])  # fmt: skip
        quiet(["fit-latency", "--dataset", str(path / "data.jsonl"), "--output", str(path / "predictor.json")])
        self.rows = [json.loads(line) for line in (path / "data.jsonl").read_text().splitlines()]
        self.predictor = json.loads((path / "predictor.json").read_text())
        self.data, self.run = path / "bin", path / "RUN"
        self.binarise()
        put(self.run, "train-good.log", f"{INNER % (5, 100)}\n{VALID % (6, 100)}\n")
        put(self.run, "results.json", RESULTS)
        put(self.run, "scores/scores.json", SCORES)
        words = ["search", str(self.data), "--path", small.path, "--cpu", "--budget", "4"]
        code, err = quiet([*words, "--output", str(self.run / "search")])
        assert code == 0, err

    def binarise(self) -> None:
        """Makes the data that a search measures on, of the raw test set."""
        model = sentencepiece.SentencePieceProcessor(model_file=str(self.path / "sentencepiece.bpe.model"))
        for language in ("en", "de"):
            lines = (self.path / f"test.{language}").read_text("utf-8").splitlines()
            text = "".join(" ".join(model.encode(line, out_type=str)) + "\n" for line in lines)
            (self.path / f"pieces.{language}").write_text(text, "utf-8")
        step = ["fairseq-preprocess", "-s", "en", "-t", "de", "--destdir", str(self.data)]
        step += ["--srcdict", str(self.path / "dict.en.txt"), "--tgtdict", str(self.path / "dict.de.txt")]
        for split in ("train", "valid", "test"):
            step += [f"--{split}pref", str(self.path / "pieces")]
        run_steps([step], self.path)

    def bad_file(self, draw) -> tuple[str, str]:
        """Writes a bad file; returns what it replaces and its path."""
        kind = draw(
            st.sampled_from(
                [*("SUPERNET", "ARCHITECTURE", "SPACE", "DATASET", "PREDICTOR", "BYTES", "DICTIONARY"), "RUN", "DATA"]
            )
        )
        file = self.path / "bad"
        if kind in ("RUN", "DATA"):
            return kind, str(self.bad_folder(draw, self.run if kind == "RUN" else self.data))
        if kind == "SUPERNET":
            state = dict(self.state)
            state["cfg"] = changed(draw, state["cfg"])
            if draw(st.booleans()):
                name = draw(st.sampled_from(sorted(state["model"])))
                state["model"] = {**state["model"], name: draw(st.sampled_from(
                    [torch.zeros(0), torch.tensor(1), torch.zeros(2, 2, 2, 2), torch.eye(2).to_sparse(), None, 3, "x"]
                ))}  # fmt: skip
            torch.save(state, file)
        elif kind in ("ARCHITECTURE", "SPACE"):
            file.write_text(
                dumped(changed(draw, self.space if kind == "SPACE" else self.architecture)), errors="replace"
            )
        elif kind == "DATASET":
            file.write_text("".join(json.dumps(row) + "\n" for row in changed(draw, self.rows)))
        elif kind == "PREDICTOR":
            file.write_text(json.dumps(changed(draw, self.predictor)))
        elif kind == "DICTIONARY":
            words = (self.path / "dict.en.txt").read_bytes()
            cut = draw(st.integers(0, len(words)))
            file = self.path / "other"
            file.mkdir(exist_ok=True)
            (file / "dict.en.txt").write_bytes(words[:cut] + draw(st.binary(max_size=6)) + words[cut:])
            (file / "dict.de.txt").write_bytes(words)
        else:
            file.write_bytes(draw(st.binary(max_size=200)))
        return kind, str(file)


    def bad_folder(self, draw, good: Path) -> Path:
        """Writes a copy of a folder with one file changed."""
        folder = self.path / "bad folder"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".png", ".yaml"))
        file = draw(st.sampled_from(files))
        content = file.read_bytes()
        if file.suffix == ".json" and draw(st.booleans()):
            file.write_text(json.dumps(changed(draw, json.loads(content))))
        elif file.suffix == ".jsonl" and draw(st.booleans()):
            rows = changed(draw, [json.loads(line) for line in content.splitlines()])
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            begin, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
            file.write_bytes(content[:begin] + draw(st.binary(max_size=6)) + content[end:])
        return folder


def dumped(data: object) -> str:
    """Returns YAML, or JSON for what YAML cannot say."""
    try:
        return yaml.safe_dump(data)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return json.dumps(data)


def quiet(words: list[str]) -> tuple[int, str]:
    """Runs a verb; returns its exit code and standard error."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = main(words)
    return code, err.getvalue()


def command(draw, folder: Folder) -> list[str]:
    """Returns arguments of some verb, one thing of which is bad (or not)."""
    verb = draw(st.sampled_from(sorted(VERBS)))
    path = folder.path
    good = {
        "SUPERNET": path / "supernet.pt", "TEST": path / "test", "OUT": path / "out", "RUN": folder.run,
        "DATA": folder.data, "DATASET": path / "data.jsonl",
    }  # fmt: skip
    kind, bad = folder.bad_file(draw)
    if kind in good:
        good[kind] = bad
    words = [verb]
    for word in GOOD[verb].split():
        stem = word.split(".")[0].split("/")[0]
        words.append(f"{good[stem]}{word[len(stem) :]}" if stem in good else word)
    if verb == "search":
        words += ["--budget", "3", "--minutes", "0.1"]
    flags = [flag for flag in PATHS[verb] if flag.startswith("--")]
    if kind not in good and flags:
        flag = draw(st.sampled_from(flags))
        if flag in words:
            place = words.index(flag)
            del words[place : place + 2]
        words += [flag, bad]
    parser = build_parser(verb)
    subparser = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices[verb]
    # More processes would take longer than a run may.
    left_out = ("help", "output", "distributed_world_size")
    options = [action for action in subparser._actions if action.option_strings and action.dest not in left_out]
    if options and draw(st.booleans()):
        action = draw(st.sampled_from(options))
        small = st.integers(-1, 8).map(str)
        value = draw(st.one_of(small, NASTY.map(str), st.sampled_from(list(action.choices or ["x"]))))
        words += [action.option_strings[0]] if action.nargs == 0 else [f"{action.option_strings[0]}={value}"]
    return words


class TooLong(BaseException):
    """A run that does not end."""


def run(minutes: float, seed: int) -> int:
    """Fuzzes for some minutes; returns how many runs went wrong."""
    os.environ.pop("WORLD_SIZE", None)
    logging.getLogger().setLevel(logging.WARNING)
    begin, codes, wrong = time.monotonic(), Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name))
        os.chdir(name)
        entries = set(os.listdir(name)) | {"bad", "other", "bad folder"}

        def alarm(*_):
            raise TooLong

        signal.signal(signal.SIGALRM, alarm)

        @settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(st.data())
        def fuzz(data):
            words = command(data.draw, folder)
            if time.monotonic() - begin > 60 * minutes:
                return  # after drawing: hypothesis compares what its examples draw
            signal.alarm(SECONDS)
            try:
                code, err = quiet(words)
                lines = [line for line in err.replace("\r", "\n").splitlines() if "error: " in line]
                trouble = None
                if code not in (0, 1, 2) or "Traceback" in err or (code == 2 and len(lines) != 1):
                    trouble = f"exit code {code}: {err[-500:]}"
                if (folder.path / "WITNESS").exists():
                    trouble = "code was run"
            except TooLong:
                code, trouble = "too long", f"more than {SECONDS} s"
            except BaseException:
                code, trouble = "traceback", traceback.format_exc()
            finally:
                signal.alarm(0)
            codes[(words[0], code)] += 1
            if trouble:
                kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
                shutil.copytree(name, kept / "folder", symlinks=True)
                wrong.append(words)
                print(f"\n--- {words}\n{trouble[-1500:]}\nfiles: {kept}", flush=True)
            for entry in set(os.listdir(name)) - entries:
                place = folder.path / entry
                shutil.rmtree(place) if place.is_dir() else place.unlink()

        round_ = 0
        while time.monotonic() - begin < 60 * minutes:
            fuzz._hypothesis_internal_use_seed = seed + round_
            fuzz()
            round_ += 1
            print(
                f"{(time.monotonic() - begin) / 60:.1f} minutes, {sum(codes.values())} runs, {len(wrong)} wrong",
                flush=True,
            )
    for (verb, code), count in sorted(codes.items(), key=str):
        print(f"{verb:<18}{code!s:<12}{count}")
    print(f"{sum(codes.values())} runs, {len(wrong)} went wrong")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default: 1)")
    given_args = parser.parse_args()
    sys.exit(1 if run(given_args.minutes, given_args.seed) else 0)
