"""The examples' pipeline: reading corpora, resuming, scoring, and what the results say."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sacrebleu.metrics import CHRF

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from pipeline import building, layout, results, text, training, vocabulary, work  # noqa: E402
from pipeline.arguments import LEAST_SAMPLES, parse  # noqa: E402
from pipeline.config import MIXTURE, MULTI30K, QUICKSTART, PipelineError  # noqa: E402
from pipeline.layout import read_hypotheses  # noqa: E402
from pipeline.stages import run_stages  # noqa: E402
from pipeline.work import Work, duration  # noqa: E402
from reproduce.plan import parse_flags  # noqa: E402

from fairseq_mos.arch import SearchSpace  # noqa: E402
from fairseq_mos.cli import main  # noqa: E402
from fairseq_mos.cost import regression  # noqa: E402
from tests.report.runs import HEADER  # noqa: E402

SPLITS = (("train", 120), ("valid", 12), ("test", 9))


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Random words and their reversals, as raw text in the languages en and de."""
    draw_from = random.Random(0)
    words = ["red", "blue", "green", "house", "tree", "river", "stone", "bird", "cloud", "fire"]
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, lines in SPLITS:
        source = [[draw_from.choice(words) for _ in range(draw_from.randint(2, 6))] for _ in range(lines)]
        (folder / f"{split}.en").write_text("".join(" ".join(line) + "\n" for line in source))
        (folder / f"{split}.de").write_text("".join(" ".join(line[::-1]) + "\n" for line in source))
    return folder


def flags(corpus: Path, output: Path, *more: str) -> list[str]:
    return ["--corpus", str(corpus), "--output", str(output), "--vocabulary", "40", "--threads", "1", *more]


# --- flags -----------------------------------------------------------------------------------------


def refused(config, argv: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as error:
        parse(config, argv)
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_flags_have_defaults():
    args = parse(QUICKSTART, [])
    assert (args.source_lang, args.target_lang, args.updates) == ("en", "de", QUICKSTART.updates)
    assert args.output == ROOT / "examples" / "quickstart" / "work" / "en-de"
    assert parse(QUICKSTART, ["--target-lang", "fr"]).output.name == "en-fr"


def test_output_of_a_given_corpus_is_apart_from_the_built_in_one(corpus):
    assert parse(QUICKSTART, ["--corpus", str(corpus)]).output.name == "corpus-en-de"


def test_bad_flags_end_with_one_line_and_code_2(tmp_path, capsys):
    assert "--nonsense" in refused(QUICKSTART, ["--nonsense"], capsys)
    assert "'0' is not allowed" in refused(QUICKSTART, ["--updates", "0"], capsys)
    assert "allowed: 20 or more" in refused(QUICKSTART, ["--latency-samples", "19"], capsys)
    assert LEAST_SAMPLES == regression._LEAST
    assert "no built-in corpus en-it" in refused(QUICKSTART, ["--target-lang", "it"], capsys)
    assert "both en" in refused(QUICKSTART, ["--target-lang", "en"], capsys)
    assert "is no folder" in refused(QUICKSTART, ["--corpus", str(tmp_path / "no")], capsys)
    without_data = replace(MULTI30K, default_data=None)
    assert "--data DIR is needed" in refused(without_data, [], capsys)


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as error:
        parse(MULTI30K, ["--help"])
    assert error.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--data", "--target-lang", "--output", "--updates", "--seed", "--threads", "--budget"):
        assert flag in shown


@pytest.mark.parametrize("name", ["quickstart", "multi30k"])
def test_run_sh_refuses_unknown_flags_before_anything_else(name):
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / name / "run.sh"), "--nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--nonsense" in done.stderr


# --- corpora ---------------------------------------------------------------------------------------


def test_corpus_may_be_gzipped_and_have_windows_line_ends(corpus):
    (corpus / "test.en.gz").write_bytes(gzip.compress(b"caf\xc3\xa9\r\ntwo\r\n"))
    (corpus / "test.en").unlink()
    found = text.find_corpus(corpus, QUICKSTART, "en", "de")
    assert found.files["test"][0].name == "test.en.gz"
    assert text.read_lines(found.files["test"][0]) == ["caf\u00e9", "two"]


def test_only_line_feeds_end_lines(tmp_path):
    (tmp_path / "a.en").write_text("one\u2028still one\nthe second\x85too", encoding="utf-8")
    assert text.read_lines(tmp_path / "a.en") == ["one\u2028still one", "the second\x85too"]


def corpus_error(corpus: Path, tmp_path: Path, target: str = "de") -> str:
    with pytest.raises(PipelineError) as error:
        text.prepare(text.find_corpus(corpus, QUICKSTART, "en", target), tmp_path / "out")
    assert error.value.code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_file_and_wrong_language_name_what_is_there(corpus, tmp_path):
    message = corpus_error(corpus, tmp_path, "fr")
    assert "no train.fr" in message and "de, en" in message
    (corpus / "valid.de").unlink()
    assert "no valid.de" in corpus_error(corpus, tmp_path)


def test_empty_file_is_refused(corpus, tmp_path):
    (corpus / "train.de").write_text("\n \n")
    assert f"{corpus / 'train.de'} is empty" in corpus_error(corpus, tmp_path)


def test_unequal_lengths_name_both_files_and_counts(corpus, tmp_path):
    with open(corpus / "train.de", "a") as stream:
        stream.write("one more\n")
    message = corpus_error(corpus, tmp_path)
    assert f"{corpus / 'train.en'} has 120 lines, {corpus / 'train.de'} has 121" in message


def test_broken_text_names_the_line(corpus, tmp_path):
    (corpus / "train.de").write_bytes(b"fine\n\xff\xfe\n" * 60)
    assert "train.de: line 2 is not UTF-8" in corpus_error(corpus, tmp_path)
    (corpus / "valid.de.gz").write_bytes(gzip.compress(b"text\n" * 99)[:20])
    (corpus / "valid.de").unlink()
    (corpus / "train.de").write_text("x\n" * 120)
    assert f"cannot read {corpus / 'valid.de.gz'}" in corpus_error(corpus, tmp_path)


def test_prepared_text_has_plain_spaces_and_keeps_every_test_line(corpus, tmp_path):
    (corpus / "train.en").write_text("10\u00a0km\u202fan  hour\n" + "\n" + "x\n" * 118)
    (corpus / "test.en").write_text("\n" + "y\u00a0z\n" * 8)
    counts = text.prepare(text.find_corpus(corpus, QUICKSTART, "en", "de"), tmp_path / "out")
    assert counts == {"train": 119, "valid": 12, "test": 9, "dropped": 1}
    assert text.read_lines(tmp_path / "out" / "train.en")[:2] == ["10 km an hour", "x"]
    assert text.read_lines(tmp_path / "out" / "test.en") == ["", *["y z"] * 8]
    assert text.read_lines(tmp_path / "out" / "test.raw.en") == ["", *["y\u00a0z"] * 8]


def encode(prefix, corpus, output, split, longest):
    sides = [text.read_lines(corpus / f"{split}.{language}") for language in ("en", "de")]
    files = [output / f"{split}.{language}" for language in ("en", "de")]
    return vocabulary.encode(prefix.with_suffix(".model"), zip(*sides), files, longest, split == "test")


def test_vocabulary_is_lowered_for_a_small_corpus_and_text_survives_it(corpus, tmp_path):
    prefix, said = tmp_path / "v" / "joint", []
    size = vocabulary.train_model([corpus / "train.en", corpus / "train.de"], prefix, 4000, said.append)
    assert size < 4000
    assert said == [f"the text is too small for a vocabulary of 4000: using {size}"]
    vocabulary.write_dictionary(prefix.with_suffix(".model"), tmp_path / "dict.txt")
    pieces = [line.rsplit(" ", 1)[0] for line in text.read_lines(tmp_path / "dict.txt")]
    # Without the unknown, begin and end symbols, which fairseq adds.
    assert len(pieces) == len(set(pieces)) == size - 3
    assert encode(prefix, corpus, tmp_path, "test", 9) == (9, 0)
    encoded = text.read_lines(tmp_path / "test.de")
    assert set(" ".join(encoded).split()) <= set(pieces)
    decoded = [line.replace(" ", "").replace("\u2581", " ").strip() for line in encoded]
    assert decoded == text.read_lines(corpus / "test.de")


def test_vocabulary_too_small_for_the_characters_is_refused(corpus, tmp_path):
    with pytest.raises(PipelineError, match="give --vocabulary [0-9]+ or more"):
        vocabulary.train_model([corpus / "train.en"], tmp_path / "joint", 5, print)


def test_long_pairs_leave_training_but_not_the_test_set(corpus, tmp_path):
    prefix = tmp_path / "joint"
    vocabulary.train_model([corpus / "train.en", corpus / "train.de"], prefix, 40, print)
    for split, lines in SPLITS:
        (corpus / f"{split}.en").write_text("house " * 900 + "\n" + "tree\n" * (lines - 1))
    found = {split: encode(prefix, corpus, tmp_path, split, vocabulary.MAX_PIECES[split]) for split, _ in SPLITS}
    assert found == {"train": (119, 1), "valid": (11, 1), "test": (9, 1)}
    assert len(text.read_lines(tmp_path / "train.en")) == 119
    tests = text.read_lines(tmp_path / "test.en")
    assert len(tests) == 9 and len(tests[0].split()) == vocabulary.MAX_PIECES["test"]


# --- steps -----------------------------------------------------------------------------------------


def test_steps_are_skipped_redone_or_continued(tmp_path, capsys):
    output, calls = tmp_path / "made", []

    def run(seed, fail=False, continues=True):
        work = Work(tmp_path / "work", 1)

        def action():
            calls.append((seed, output.exists()))
            output.mkdir(exist_ok=True)
            if fail:
                raise KeyboardInterrupt

        with work.stage("make it", "1 min"):
            work.step("make", {"seed": seed}, [output], action, continues)
        work.lock.close()
        return work.token("make")

    with pytest.raises(KeyboardInterrupt):
        run(1, fail=True)
    first = run(1)
    assert run(1) == first
    assert calls == [(1, False), (1, True)]
    assert "[1/1] make it: done before" in capsys.readouterr().out
    assert run(2) != first
    assert calls[2:] == [(2, False)]
    assert "make: seed was 1, is 2; starting it anew" in capsys.readouterr().out
    output.rmdir()
    run(2)
    assert calls[3:] == [(2, False)]
    with pytest.raises(KeyboardInterrupt):
        run(3, fail=True)
    run(3, continues=False)
    assert calls[4:] == [(3, False), (3, False)]


def test_two_runs_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_PATIENCE", 0)
    first = Work(tmp_path, 1)
    with pytest.raises(PipelineError, match="another run uses"):
        Work(tmp_path, 1)
    with first:
        pass
    Work(tmp_path, 1).lock.close()


def test_a_run_that_failed_leaves_its_folder_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_PATIENCE", 0)

    def fail(run):
        raise PipelineError("no corpus")

    monkeypatch.setattr(building, "prepare_corpus", fail)
    args = parse(QUICKSTART, ["--output", str(tmp_path / "run")])
    # Whoever holds the error holds what failed.
    with pytest.raises(PipelineError, match="no corpus") as _held:
        run_stages(QUICKSTART, args)
    with pytest.raises(PipelineError, match="no corpus"):
        run_stages(QUICKSTART, args)


def test_a_step_without_its_output_fails(tmp_path):
    with pytest.raises(PipelineError, match="without writing") as error:
        Work(tmp_path, 1).step("idle", {}, [tmp_path / "nothing"], lambda: None)
    assert error.value.code == 1


def test_durations():
    assert [duration(s) for s in (0.4, 61, 3725)] == ["0 s", "1 min 01 s", "1 h 02 min"]


# --- training --------------------------------------------------------------------------------------


def test_stock_model_differs_in_model_task_and_criterion_alone():
    def split(kind):
        words = training.train_arguments(
            MULTI30K, Path("d"), Path("s"), ("en", "de"), 2000, 1, kind, Path("a.yaml"), Path("w.pt")
        )
        pairs = {}
        for flag, value in zip(words, [*words[1:], "--"]):
            if flag.startswith("--"):
                pairs[flag] = None if value.startswith("--") else value
        return pairs

    def difference(one, two):
        return {key for key in {**one, **two} if one.get(key, "-") != two.get(key, "-")}

    supernet, stock, scratch, retrained = map(split, training.KINDS)
    different = difference(supernet, stock)
    # Its architectures have smaller batches of their own, and more of them.
    own = {"--arch-own-batches", "--update-freq", "--max-tokens", "--warmup-updates"}
    assert difference(scratch, retrained) == {"--finetune-from-model", "--lr", "--warmup-updates"}
    assert difference(supernet, scratch) == {
        "--task", "--criterion", "--arch", "--routing", "--num-experts", "--subnet", "--share-all-embeddings", *own,
    }  # fmt: skip
    assert retrained["--finetune-from-model"] == "w.pt" and scratch["--subnet"] == "a.yaml"
    sizes = {flag for flag in MULTI30K.stock.split() if flag.startswith("--")}
    assert different == {"--task", "--criterion", "--routing", "--num-experts", *sizes, *own}
    assert stock["--task"] == "translation"
    assert supernet["--arch"] == "mos_transformer_multi30k"


def test_what_a_config_says_of_its_supernet_counts_there_alone_and_of_its_network_for_all():
    config = replace(MULTI30K, supernet="--routing shared --lr 0.5", network="--encoder-normalize-before")

    def words(kind):
        return training.train_arguments(
            config, Path("d"), Path("s"), ("en", "de"), 9, 1, kind, Path("a.yaml"), Path("w")
        )

    told = {kind: parse_flags([shlex.join(words(kind)[1:])]) for kind in training.KINDS}
    rates = {kind: flags["--lr"] for kind, flags in told.items()}
    assert rates == {"supernet": ["0.5"], "stock": ["0.006"], "scratch": ["0.006"], "retrained": ["0.001"]}
    assert {kind for kind, flags in told.items() if "--routing" in flags} == {"supernet"}
    normalized = {kind for kind, flags in told.items() if "--encoder-normalize-before" in flags}
    assert normalized == set(training.KINDS)


def test_dense_models_have_updates_and_warm_up_of_their_own():
    config = replace(MULTI30K, updates=90, dense_updates=30, warmup=24, retrain_warmup=2)

    def warmup(config, kind, updates):
        words = training.train_arguments(config, Path("d"), Path("s"), ("en", "de"), updates, 1, kind)
        return words[words.index("--warmup-updates") + 1]

    assert [warmup(config, kind, 99) for kind in ("supernet", "stock")] == ["24", "8"]
    # Half of a training at most.
    assert [warmup(config, kind, 9) for kind in ("supernet", "stock")] == ["4", "4"]
    assert warmup(replace(config, dense_updates=0), "stock", 99) == "24"


@pytest.mark.parametrize("dense, asked, expected", [(30, 90, 30), (30, 9, 3), (30, 1, 1), (0, 90, 90), (0, 9, 9)])
def test_dense_updates_stay_in_proportion(tmp_path, dense, asked, expected):
    config = replace(MULTI30K, updates=90, dense_updates=dense)
    words = ["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--updates", str(asked)]
    args = parse(config, [*words, "--retrain-updates", "5"])
    args.data = None
    run = layout.Run(config, args)
    found = {kind: run.updates(kind) for kind in ("supernet", "stock", "scratch", "retrained")}
    assert found == {"supernet": asked, "stock": expected, "scratch": expected, "retrained": 5}


def test_stock_model_has_the_sizes_of_the_largest_architecture():
    words = MULTI30K.stock.split()
    value = dict(zip(words, words[1:]))
    largest = SearchSpace.load(MULTI30K.space).largest()
    for name, side in (("encoder", largest.encoder), ("decoder", largest.decoder)):
        assert int(value[f"--{name}-embed-dim"]) == side.embed_dim
        assert (int(value[f"--{name}-ffn-embed-dim"]),) * side.layers == side.ffn_dims
        assert int(value[f"--{name}-layers"]) == side.layers
        assert (int(value[f"--{name}-attention-heads"]),) * side.layers == side.self_attention_heads
    assert set(largest.decoder.cross_attention_heads) == {int(value["--decoder-attention-heads"])}
    assert set(largest.decoder.arbitrary_attention) == {-1}
    assert largest.qkv_dim is None


def test_progress_is_one_short_line_now_and_then():
    said, now = [], [0.0]
    progress = training.TrainingProgress(said.append, 1000, every=10, clock=lambda: now[0])
    inner = '2026 | INFO | train_inner | {"loss": "7.5", "largest_loss": "7", "num_updates": "%d"}'
    for second, update in ((0, 100), (5, 150), (10, 200)):
        now[0] = second
        progress(inner % update)
    progress("2026 | INFO | fairseq.trainer | Loaded checkpoint x.pt (epoch 2 @ 300 updates)")
    progress('2026 | INFO | valid | {"valid_loss": "6.25", "valid_num_updates": "200"}')
    progress("anything else")
    assert said == [
        "update  100/1000   train loss 7.50 (largest 7.00)",
        "update  200/1000   train loss 7.50 (largest 7.00)   1 min 20 s left",
        "going on from update 300",
        "update  200/1000   valid loss 6.25",
    ]


def test_the_last_checkpoints_are_averaged(tmp_path):
    for name in ("_1_90", "_1_100", "_2_110", "_last", "_best"):
        (tmp_path / f"checkpoint{name}.pt").touch()
    names = [path.name for path in training.last_checkpoints(tmp_path, 2)]
    assert names == ["checkpoint_1_100.pt", "checkpoint_2_110.pt"]
    assert len(training.last_checkpoints(tmp_path, 9)) == 3
    assert training.last_checkpoints(tmp_path, 1) == [tmp_path / "checkpoint_last.pt"]


def test_corpus_to_trained_supernet_and_again(corpus, tmp_path, capsys):
    """With fairseq's real commands; the second run has nothing to do."""
    config = replace(QUICKSTART, saves=2, average=2, max_tokens=128, supernet=MIXTURE)
    args = parse(config, flags(corpus, tmp_path / "work", "--updates", "4"))

    def build():
        run = layout.Run(config, args)
        for stage in (building.prepare_corpus, building.make_vocabulary, building.binarise):
            with run.work.stage(stage.__name__):
                stage(run)
        with run.work.stage("train"):
            building.train(run, "supernet")
        run.work.lock.close()
        return run

    first = build()
    assert first.work.executed == ["corpus", "vocabulary", "binarise", "train-supernet", "average-supernet"]
    shown = capsys.readouterr().out
    assert f"fairseq-train {first.data} --user-dir fairseq_mos" in shown
    assert "update 4/4" in shown
    averaged = torch.load(first.supernet, weights_only=True)["model"]
    checkpoints = sorted((first.supernet.parent / "checkpoints").glob("checkpoint_*_[0-9].pt"))
    assert len(checkpoints) == 2
    name = "encoder.embed_tokens.weight"
    with torch.serialization.safe_globals([argparse.Namespace]):
        parts = [torch.load(path, weights_only=True)["model"][name] for path in checkpoints]
    assert not torch.equal(parts[0], parts[1])
    torch.testing.assert_close(averaged[name], (parts[0] + parts[1]) / 2)
    assert build().work.executed == []
    assert capsys.readouterr().out.count("done before") == 4


# --- the whole sequence, with stand-ins for the commands ---------------------------------------------


def measured_latency(path: Path) -> None:
    """Writes a predictor of a latency that grows with the depths and the widths."""
    from fairseq_mos.cost.features import features
    from fairseq_mos.cost.predictor import LatencyPredictor, Measurements
    from fairseq_mos.cost.regression import errors

    space = SearchSpace.load("tiny")
    rng = random.Random(1)
    archs = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(38))]
    latency = [4.0 * a.decoder.layers + a.encoder.embed_dim / 32 + a.decoder.embed_dim / 32 for a in archs]
    rows = [features("layers", space, arch) for arch in archs]
    data = Measurements(space, {}, "layers", rows, latency)
    LatencyPredictor(data, "linear", errors(latency, latency, len(rows), 1)).save(path)


class Commands:
    """Stands in for the commands: leaves the files that they would leave.

    Translations are the references, apart from what `spoil` says.
    """

    def __init__(self, corpus: Path):
        self.references = (corpus / "test.de").read_text().splitlines()
        self.called: list[str] = []
        self.spoil: dict[str, str] = {}
        self.validated = '2026 | INFO | valid | {"epoch": 1, "valid_loss": "6.5"}\nx | valid | {"valid_loss": "5.25"}'

    def __call__(self, module, arguments, log, threads, on_line=lambda line: None, stdout=None, held=()):
        def value(flag):
            return Path(arguments[arguments.index(flag) + 1])

        verb = arguments[0] if module == "fairseq_mos.cli" else module.split(".")[-1]
        self.called.append(verb if stdout is None else stdout.stem)
        if verb == "preprocess":
            value("--destdir").mkdir(parents=True)
        elif verb == "train":
            value("--save-dir").mkdir(parents=True)
        elif verb == "search":
            space = SearchSpace.load("tiny")
            arch = space.sample(random.Random(1))
            arch.save(value("--output") / "best.yaml")
            rows = [
                {**HEADER, "path": None, "data": None},
                {"index": 0, "latency_ms": 9.5, "loss": 5.5},
                {"index": 1, "latency_ms": 9.0, "loss": None},
                {"index": 2, "latency_ms": 9.25, "loss": 4.5, "raced": 1},
            ]
            text.write_lines(value("--output") / "evaluations.jsonl", [json.dumps(row) for row in rows])
            best = {**rows[1], "params": 10, "flops": 1e6, "architecture": arch.to_dict()}
            (value("--output") / "best.json").write_text(json.dumps(best))
            front = {"front": [{"front": "latency_ms", **rows[1]}, {"front": "flops", **rows[1]}]}
            (value("--output") / "front.json").write_text(json.dumps(front))
        elif verb == "latency-dataset":
            value("--output").touch()
        elif verb == "fit-latency":
            measured_latency(value("--output"))
        elif verb == "profile":
            row = {"median_ms": 12.34, "low_ms": 12.0, "high_ms": 13.0, "params": 20, "params_no_embed": 10}
            row["flops"] = 38_000_000
            value("--output").write_text(json.dumps(row))
        elif verb in ("average", "extract"):
            value("--output").parent.mkdir(parents=True, exist_ok=True)
            value("--output").touch()
            on_line("subnet:   10 parameters")
        elif verb == "validate":
            for line in self.validated.split("\n"):
                on_line(line)
        elif verb == "generate":
            stdout.parent.mkdir(exist_ok=True)
            lines = [f"H-{i}\t-0.5\t{line}" for i, line in enumerate(self.references)]
            if stdout.stem in self.spoil:
                lines[3] = f"H-3\t-0.5\t{self.spoil[stdout.stem]}"
            # fairseq-generate sorts by length.
            text.write_lines(stdout, ["a log line", *reversed(lines)])
        elif verb in ("evaluate", "report"):
            assert main(arguments) == 0  # the verb itself: it needs no model


@pytest.fixture
def commands(corpus, monkeypatch) -> Commands:
    stand_in = Commands(corpus)
    monkeypatch.setattr(layout, "run_command", stand_in)
    return stand_in


def run_all(corpus: Path, tmp_path: Path, *more: str):
    run = run_stages(QUICKSTART, parse(QUICKSTART, flags(corpus, tmp_path / "work", *more)))
    run.work.lock.close()
    return run


def test_second_run_skips_every_stage(corpus, tmp_path, commands, capsys):
    first = run_all(corpus, tmp_path)
    assert len(first.work.executed) == len(set(first.work.executed)) == 23
    assert capsys.readouterr().out.count("done before") == 0
    commands.called.clear()
    second = run_all(corpus, tmp_path)
    assert second.work.executed == commands.called == []
    typed = (second.folder / "logs" / "run.log").read_text()
    typed_flags = f"--corpus {corpus} --output {second.folder} --vocabulary 40 --threads 1"
    assert typed == 2 * f"$ bash examples/quickstart/run.sh {typed_flags}\n"
    shown = capsys.readouterr().out
    assert shown.count("done before") == 10
    assert "[11/11] score" in shown and "elapsed: " in shown


def test_the_found_subnet_retrained_and_from_scratch(corpus, tmp_path, commands):
    run = run_all(corpus, tmp_path, "--retrain-updates", "7")
    trained = [name for name in run.work.executed if name.startswith(("train", "average"))]
    assert trained[2:] == ["train-scratch", "average-scratch", "train-retrained", "average-retrained"]
    rows = {row["system"]: row for row in json.loads((run.folder / "results.json").read_text())["rows"]}
    names = ["largest", "smallest", "found", "found, from scratch", "found, retrained", "copy of the source"]
    assert list(rows) == names
    assert (
        len({rows[name]["flops"] for name in names[2:5]})
        == len({rows[name]["architecture"] for name in names[2:5]})
        == 1
    )
    # Another subnet is trained anew; the supernet is not.
    redone = run_all(corpus, tmp_path, "--retrain-updates", "7", "--budget", "9").work.executed
    assert set(trained[2:]) < set(redone) and "train-supernet" not in redone


def test_changed_settings_redo_what_depends_on_them(corpus, tmp_path, commands):
    run_all(corpus, tmp_path)
    assert run_all(corpus, tmp_path, "--budget", "9").work.executed == [
        *("search", "extract-found", "validate-found", "profile-found", "translate-found"),
        *("translate-pinned-found", "score", "report"),
    ]
    redone = run_all(corpus, tmp_path, "--budget", "9", "--latency-samples", "30").work.executed
    assert redone[:3] == ["measure-latency", "fit-latency", "search"] and "extract-largest" not in redone
    (corpus / "valid.en").write_text("red\n" * 12)
    assert run_all(corpus, tmp_path, "--budget", "9", "--latency-samples", "30").work.executed[0] == "corpus"


def test_results_of_a_run(corpus, tmp_path, commands, capsys):
    run = run_all(corpus, tmp_path)
    results = json.loads((run.folder / "results.json").read_text())
    rows = {row["system"]: row for row in results["rows"]}
    assert list(rows) == ["largest", "smallest", "found", "copy of the source"]
    assert rows["largest"]["bleu"] == pytest.approx(100)
    assert rows["found"]["differing"] == 0 and rows["largest"]["differing"] is None
    assert rows["found"]["valid_loss"] == 5.25
    assert rows["largest"]["flops"] == 38_000_000 and rows["found"]["parameters"] == 20
    assert rows["found"]["latency_ms"] == 12.34 and rows["found"]["latency_high_ms"] == 13.0
    sources = (corpus / "test.en").read_text().splitlines()
    assert rows["copy of the source"]["chrf"] == CHRF().corpus_score(sources, [commands.references]).score
    assert rows["copy of the source"]["parameters"] is None
    for key in ("space", "supernet", "data", "split", "seed", "device", "torch", "sacrebleu"):
        assert results["signature"][key]
    assert (run.folder / "results.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    shown = capsys.readouterr().out
    assert "largest  " in shown and results["bleu_signature"] in shown


def test_a_subnet_that_translates_otherwise_is_a_failure(corpus, tmp_path, commands, capsys):
    commands.spoil = {"pinned-found": "something else"}
    with pytest.raises(PipelineError, match="first in line 4") as error:
        run_all(corpus, tmp_path)
    assert error.value.code == 1
    assert "1 differ" in capsys.readouterr().out
    assert "| 1 differ |" in (tmp_path / "work" / "results.md").read_text()


# --- results ---------------------------------------------------------------------------------------


def test_hypotheses_are_put_in_order_and_counted(tmp_path):
    lines = ["S-1\tx", "H-1\t-0.25\tzwei", "D-1\t-0.25\tzwei", "H-0\t-1.5\teins <b>", "P-0\t-1"]
    text.write_lines(tmp_path / "g", lines)
    assert read_hypotheses(tmp_path / "g", 2) == [("eins <b>", "-1.5"), ("zwei", "-0.25")]
    with pytest.raises(PipelineError, match="translates 2 sentences, the test set has 3"):
        read_hypotheses(tmp_path / "g", 3)


@pytest.fixture
def found() -> dict:
    names = ("parameters", "parameters_no_embed", "flops", "latency_ms", "latency_low_ms", "latency_high_ms")

    def row(system, bleu, chrf, costs=(), valid_loss=None, differing=None, architecture=None):
        costs = dict.fromkeys(names) | dict(zip(names, costs))
        ending = {"valid_loss": valid_loss, "differing": differing, "architecture": architecture}
        return {"system": system, "bleu": bleu, "chrf": chrf, **costs, **ending}

    return {
        "title": "toy, en-de",
        "rows": [
            row("largest", 41.236, 60.5, (1234567, 765432, 38_836_000, 31.07, 30, 32), 4.3216, 0, "abc"),
            row("found", 40.0, 59.0, (1000, 500, 20_000_000, 16.0, 15, 17), 4.5, 2, "def"),
            row("copy of the source", 3.0, 20.0),
        ],
        "signature": {"space": "tiny", "routing": "neuron", "seed": "1"},
        "bleu_signature": "nrefs:1|version:2.6.0",
        "chrf_signature": "nrefs:1|nc:6",
        "examples": [{"source": "a | b", "reference": "<r>", "translations": {"largest": "x"}}],
        "picture": "results.png",
    }


def test_text_table(found):
    lines = results.as_text(found).splitlines()
    assert lines[0].split("  ")[0] == "system"
    cells = [lines[2].split(), lines[3].split()]
    scores = ["4.322", "41.24", "60.50", "identical"]
    assert cells[0] == ["largest", "1,234,567", "765,432", "38.8M", "31.1", "ms", *scores]
    assert cells[1][-2:] == ["2", "differ"]
    assert lines[4].split()[-7:] == ["-", "-", "-", "-", "3.00", "20.00", "-"]
    assert "BLEU: nrefs:1|version:2.6.0" in lines
    assert "space:tiny|routing:neuron|seed:1" in lines
    assert "source     a | b" in lines


def test_markdown_escapes_what_would_break_the_table(found):
    lines = results.as_markdown(found).splitlines()
    assert lines[4] == "| largest | 1,234,567 | 765,432 | 38.8M | 31.1 ms | 4.322 | 41.24 | 60.50 | identical |"
    assert "| source | a \\| b |" in lines
    assert "| reference | &lt;r> |" in lines
    assert "![Valid loss against latency](results.png)" in lines


def test_every_csv_row_carries_the_signatures(found):
    rows = list(csv.DictReader(io.StringIO(results.as_csv(found))))
    assert [row["system"] for row in rows] == ["largest", "found", "copy of the source"]
    assert float(rows[0]["bleu"]) == 41.236 and int(rows[0]["flops"]) == 38_836_000
    assert rows[2]["parameters"] == ""
    assert {row["signature"] for row in rows} == {"space:tiny|routing:neuron|seed:1"}
    assert {row["bleu_signature"] for row in rows} == {"nrefs:1|version:2.6.0"}


def test_a_validation_without_a_loss_is_a_failure(corpus, tmp_path, commands):
    commands.validated = "nothing"
    with pytest.raises(PipelineError, match="no valid loss"):
        run_all(corpus, tmp_path)


def test_picture_shows_every_system(corpus, tmp_path, commands, monkeypatch):
    from matplotlib import pyplot

    run = run_all(corpus, tmp_path)
    shown = []
    monkeypatch.setattr(pyplot, "close", lambda figure: shown.append(figure))
    results.draw(run, json.loads((run.folder / "results.json").read_text())["rows"])
    axes = shown[0].axes[0]
    labels = [entry.get_text() for entry in axes.get_legend().get_texts()]
    assert {"largest, measured", "smallest, measured", "found, measured", "Pareto front"} <= set(labels)
    assert "evaluated by the search (1), latency predicted" in labels
    assert "ms" in axes.get_xlabel() and "bits per token" in axes.get_ylabel()
    front = next(line for line in axes.get_lines() if line.get_label() == "Pareto front")
    assert [tuple(map(float, point)) for point in front.get_xydata()] == [(9.5, 5.5)]
    assert (run.folder / "results.png").stat().st_size > 1000
