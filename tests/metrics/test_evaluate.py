"""`fairseq-mos evaluate` as a user meets it."""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import sys

import pytest
import sacrebleu
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models.transformer import TransformerConfig, TransformerModelBase
from omegaconf import OmegaConf
from sentencepiece import sentencepiece_model_pb2

from fairseq_mos import hub
from fairseq_mos.cli import main
from fairseq_mos.export.checkpoint import extract_checkpoint, write_checkpoint
from fairseq_mos.metrics.systems import split_name
from tests import toy
from tests.fairseq_commands import run
from tests.small import sentences


def test_models_and_given_translations_in_one_table(small, evaluate, tmp_path):
    given = tmp_path / "given.txt"
    given.write_text("".join(f"{line}\n" for line in sentences(12, 2)))
    arguments = ["--path", small.folder / "one/subnet.pt", f"super={small.path}", "--architecture", "smallest"]
    code, out, _ = evaluate(*arguments, "--hypotheses", f"copy={given}", "--compound-bleu")
    assert code == 0
    rows = {row["system"]: row for row in json.loads((tmp_path / "out/scores.json").read_text())}
    assert list(rows) == ["one", "super:smallest", "copy"]
    assert rows["copy"]["scores"]["bleu"]["score"] == pytest.approx(100) and rows["copy"]["costs"] == {}
    interface = hub.load(small.path, "random:1")
    expected = interface.translate(small.sources, beam=2)
    lines = (tmp_path / "out/translations/one.test.txt").read_text().splitlines()
    assert lines == expected
    reference = (small.folder / "test.de").read_text().splitlines()
    bleu = sacrebleu.corpus_bleu(expected, [reference])
    assert rows["one"]["scores"]["bleu"]["score"] == pytest.approx(bleu.score)
    assert rows["one"]["costs"]["params"] == sum(p.numel() for p in interface.models[0].parameters())
    assert f"{rows['one']['costs']['params']:,}" in out and "compounds split" in out
    table = {row["system"]: row for row in csv.DictReader((tmp_path / "out/scores.csv").read_text().splitlines())}
    assert float(table["one"]["chrf"]) == pytest.approx(rows["one"]["scores"]["chrf"]["score"])
    assert table["super:smallest"]["ter_p_value"] and not table["one"]["ter_p_value"]
    assert "|---|" in (tmp_path / "out/scores.md").read_text()


def test_translations_are_made_once(small, evaluate):
    arguments = ["--path", small.folder / "one/subnet.pt"]
    assert "12 sentences in" in evaluate(*arguments)[1]
    assert "translated before" in evaluate(*arguments, "--metrics", "chrf")[1]
    # Another option, another translation.
    assert "12 sentences in" in evaluate(*arguments, "--lenpen", "0.5")[1]


def test_each_checkpoint_is_read_and_each_set_tokenised_once(small, evaluate, monkeypatch):
    read, encoded = [], []
    load, encode = checkpoint_utils.load_checkpoint_to_cpu, hub.TranslationHub.encode
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint_to_cpu", lambda path: read.append(path) or load(path))
    monkeypatch.setattr(hub.TranslationHub, "encode", lambda self, text: encoded.append(text) or encode(self, text))
    arguments = ["--path", small.folder / "one/subnet.pt", f"s={small.path}"]
    assert evaluate(*arguments, "--architecture", "largest", "smallest")[0] == 0
    assert read == [str(small.folder / "one/subnet.pt"), small.path]
    assert sorted(encoded) == sorted(3 * small.sources)


def test_given_translations_are_not_overwritten(small, evaluate, tmp_path):
    given = tmp_path / "out/translations/one.test.txt"
    given.parent.mkdir(parents=True)
    given.write_text("".join(f"{line}\n" for line in sentences(12, 2)))
    before = given.read_text()
    code, _, err = evaluate("--path", small.folder / "one/subnet.pt", "--hypotheses", f"copy={given}")
    assert code == 2 and f"writing {given} would overwrite {given}, which is read" in err
    assert given.read_text() == before


def test_another_model_of_the_same_name_is_translated_again(small, evaluate):
    arguments = [f"--path=x={small.path}", "--architecture"]
    assert "12 sentences in" in evaluate(*arguments, "random:1")[1]
    extract_checkpoint(small.path, "random:2", str(small.folder / "two" / "subnet.pt"))
    assert "12 sentences in" in evaluate("--path", f"x:random:1={small.folder / 'two/subnet.pt'}")[1]


def test_heads_and_attention_make_another_model_without_another_tensor(small, evaluate, tmp_path):
    path = tmp_path / "one" / "subnet.pt"
    shutil.copytree(small.folder / "one", path.parent)
    state = torch.load(path, weights_only=True)
    model = state["cfg"]["model"]
    for heads, attention in ((4, -1), (2, -1), (2, 2)):
        data = json.loads(model["architecture_definition"])
        data["decoder"]["self_attention_heads"] = [heads] * len(data["decoder"]["self_attention_heads"])
        data["decoder"]["arbitrary_attention"] = [attention] * len(data["decoder"]["arbitrary_attention"])
        model["architecture_definition"] = json.dumps(data)
        torch.save(state, path)
        assert "12 sentences in" in evaluate("--path", path)[1]
    assert "translated before" in evaluate("--path", path)[1]


@pytest.mark.parametrize("name", ["dict.de.txt", "sentencepiece.bpe.model"])
def test_another_vocabulary_means_another_translation(small, evaluate, tmp_path, name):
    folder = tmp_path / "data"
    folder.mkdir()
    for file in ("dict.en.txt", "dict.de.txt", "sentencepiece.bpe.model"):
        shutil.copy(small.folder / file, folder / file)
    arguments = ["--path", small.folder / "one/subnet.pt", "--data", folder]
    assert "12 sentences in" in evaluate(*arguments)[1]
    if name == "dict.de.txt":
        lines = (folder / name).read_text().splitlines(keepends=True)
        for language in ("en", "de"):
            (folder / f"dict.{language}.txt").write_text("".join([*lines[1:], lines[0]]))
    else:
        model = sentencepiece_model_pb2.ModelProto.FromString((folder / name).read_bytes())
        model.trainer_spec.model_prefix = "other"
        (folder / name).write_bytes(model.SerializeToString())
    assert "12 sentences in" in evaluate(*arguments)[1]
    assert "translated before" in evaluate(*arguments)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "fairseq-mos: error: the following arguments are required: VERB"),
        (
            ["evaluate", "--test-set", "x", "--output", "y", "--beam", "x"],
            "fairseq-mos evaluate: error: --beam is 'x', allowed: 1 to 1,000",
        ),
    ],
)
def test_a_wrong_flag_is_one_line(arguments, message, capsys):
    code = main(arguments)
    err = capsys.readouterr().err
    assert code == 2 and err.startswith(message) and err.endswith("(see --help)\n") and err.count("\n") == 1


def test_architectures_and_test_sets_may_be_named(small, evaluate, tmp_path):
    for folder in ("aa", "bb"):
        (tmp_path / folder).mkdir()
        arch = small.space.largest() if folder == "aa" else small.space.smallest()
        (tmp_path / folder / "best.yaml").write_text(json.dumps(arch.to_dict()))
    architectures = [f"aa={tmp_path / 'aa/best.yaml'}", f"bb={tmp_path / 'bb/best.yaml'}"]
    sets = [f"x={small.folder / 'test'}", f"y={small.folder / 'test'}"]
    assert evaluate("--path", f"s={small.path}", "--architecture", *architectures, "--test-set", *sets)[0] == 0
    rows = json.loads((tmp_path / "out/scores.json").read_text())
    assert [(row["system"], row["test_set"]) for row in rows] == [
        ("s:aa", "x"), ("s:bb", "x"), ("s:aa", "y"), ("s:bb", "y")
    ]  # fmt: skip


PAIR = ["--source-lang", "en", "--target-lang", "de"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate: give --path or --hypotheses"),
        (["--path", "missing.pt"], "checkpoint missing.pt does not exist"),
        (["--path", "{one}", "--target-lang", "fr"], "translates en-de, asked is en-fr"),
        (["--path", "{super}"], "is a supernet, which has many architectures: give --architecture"),
        (["--path", "{one}", "--architecture", "largest"], "--architecture is for supernets, and no --path is one"),
        (["--path", "{one}", "{one}"], "two systems are called one"),
        (["--path", "{one}", "--hypotheses", "one={short}"], "two systems are called one"),
        (["--hypotheses", "x={short}", "x={other}", *PAIR], "two systems are called x: give them names"),
        (["--path", "{super}", "--architecture", "a/best.yaml", "b/best.yaml"], "--architecture NAME=FILE"),
        (["--path", "a b={one}", "a+b={one}"], "a b on test and a+b on test would both be written to a-b.test.txt"),
        (["--path", "test={one}", "--test-set", "{set}", "source={set}"], "source of test and test on source would"),
        (["--path", "{one}", "--test-set", "{set}", "{short_set}"], "two test sets are called test: give them names"),
        (["--path", "{one}", "--metrics", "bleu,bleu,ter"], "--metrics: bleu is given twice"),
        (["--hypotheses", "{short}", "--source-lang", "en", "--target-lang", "ko"], "needs another tokeniser: pip"),
        (["--path", "{one}", "--hypotheses", "{short}"], "short has 11 translations, test set test has 12 references"),
        (["--path", "{one}", "--metrics", "bleu,rouge"], "--metrics: 'rouge' is unknown"),
        (["--path", "{one}", "--fp16"], "--fp16 needs a GPU"),
        (["--path", "{one}", "--comet", "x"], "--comet needs --comet-python"),
        (["--hypotheses", "{short}"], "--hypotheses alone do not tell the languages"),
    ],
)
def test_bad_input_is_one_line(small, evaluate, tmp_path, arguments, message):
    short = tmp_path / "short.txt"
    short.write_text("a\n" * 11)
    for name in ("other.txt", "other/test.en", "other/test.de"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n" * 12)
    places = {
        **{"one": small.folder / "one/subnet.pt", "super": small.path, "short": short, "other": tmp_path / "other.txt"},
        **{"set": small.folder / "test", "short_set": tmp_path / "other" / "test"},
    }
    code, out, err = evaluate(*(argument.format(**places) for argument in arguments))
    assert code == 2 and err.startswith("fairseq-mos: error: ") and message in err
    assert err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "{file}/out"], ": {file} is a file, expected a folder"),
        (["--path", "{one}", "{bare}"], "there is no subword model beside bare"),
        (["--test-set", "{set}", "{long}"], "{long}.en: line 2 has 1201 subwords, one takes 1024 at most"),
        (["--test-set", "{long}", "--max-tokens", "600"], "{long}.en: line 2 has 1201 subwords, --max-tokens is 600"),
        (["--hypotheses", "{name}={set}.de"], "would have a name of 410 bytes, allowed: 255; give shorter"),
        (["--path", "a\nb={one}"], "the name 'a\\nb' cannot be printed: give another, as in NAME=PATH"),
        (["--path", "a\udcff={one}"], "the name 'a\\udcff' cannot be printed"),
        (["--test-set", "\x1b[31m={set}"], "the name '\\x1b[31m' cannot be printed"),
        (["--comet", "x", "--comet-python", "nowhere"], "--comet-python nowhere: No such file"),
        (["--comet", "x", "--comet-python", sys.executable], "unbabel-comet is not installed in"),
        (["--latency", "--runs", "1"], "--runs is 1, allowed: 4 to 1,000,000"),
    ],
)
def test_what_can_be_known_early_is_found_before_anything_is_translated(small, evaluate, tmp_path, arguments, message):
    places = {name: tmp_path / name for name in ("file", "long")}
    places["file"].write_text("")
    for language in ("en", "de"):
        (tmp_path / f"long.{language}").write_text("ein " * 700 + "\n" + "ein " * 1200 + "\n")
    places["bare"] = tmp_path / "bare" / "bare.pt"
    places["bare"].parent.mkdir()
    for file in ("dict.en.txt", "dict.de.txt"):
        shutil.copy(small.folder / file, places["bare"].parent / file)
    shutil.copy(small.folder / "one/subnet.pt", places["bare"])
    places.update(one=small.folder / "one/subnet.pt", set=small.folder / "test", name="n" * 400)
    code, out, err = evaluate("--path", places["one"], *(argument.format(**places) for argument in arguments))
    assert code == 2 and message.format(**places) in err and err.count("\n") == 1
    assert "sentences in" not in out and not (tmp_path / "out").exists()


def test_rows_say_what_the_model_is_and_how_latency_was_measured(small, evaluate, tmp_path):
    arguments = ["--path", small.folder / "one/subnet.pt", f"s={small.path}", "--architecture", "random:1"]
    assert evaluate(*arguments, "--latency", "--runs", "4", "--threads", "1")[0] == 0
    dense, inherited = json.loads((tmp_path / "out/scores.json").read_text())
    arch = small.space.sample(random.Random(1)).digest()
    # Which supernet an extracted subnet comes from, it does not tell.
    about = rf"weights:([0-9a-f]{{12}})\|space:toy\|(.*)architecture:{arch}\|beam:2\|lenpen:1\|device:cpu\|precision"
    found = [re.match(about, row["signature"]).groups() for row in (dense, inherited)]
    assert found[0][0] == found[1][0] and (found[0][1], found[1][1]) == ("", "routing:neuron|experts:2|")
    for row in (dense, inherited):
        costs = row["costs"]
        assert costs["latency_low_ms"] <= costs["latency_ms"] <= costs["latency_high_ms"]
        assert row["latency_signature"].startswith("protocol:hat|device:")
        assert "|threads:1|source_tokens:30|target_tokens:30|beam:5|" in row["latency_signature"]
        assert row["latency_signature"].endswith("|runs:4")
    record = next(csv.DictReader((tmp_path / "out/scores.csv").read_text().splitlines()))
    assert record["latency_signature"] == dense["latency_signature"] and float(record["latency_high_ms"]) > 0
    assert f"latency: {dense['latency_signature']}" in (tmp_path / "out/scores.md").read_text()


TASK = {"_name": "translation", "data": ".", "source_lang": "en", "target_lang": "de"}
LEGACY = argparse.Namespace(**{**TASK, "_name": "translation_multi_simple_epoch", "task": "x", "lang_pairs": ["en-de"]})


@pytest.mark.parametrize("task", [TASK, LEGACY], ids=["dataclass", "argparse"])
def test_a_stock_model_beside_a_subnet(small, evaluate, tmp_path, task):
    """What fairseq itself has trained: no plugin, an architecture of its own."""
    config = {"share_all_embeddings": True, "dropout": 0.0}
    for side in ("encoder", "decoder"):
        config[side] = {"embed_dim": 16, "ffn_embed_dim": 16, "layers": 1, "attention_heads": 2}
    config["decoder"].update(input_dim=16, output_dim=16)
    fields = OmegaConf.merge(OmegaConf.structured(TransformerConfig()), config)
    dictionary = Dictionary.load(str(small.folder / "dict.de.txt"))
    torch.manual_seed(1)
    model = TransformerModelBase.build_model(fields, toy.task(dictionary))
    (tmp_path / "stock").mkdir()
    for file in ("dict.en.txt", "dict.de.txt", "sentencepiece.bpe.model"):
        shutil.copy(small.folder / file, tmp_path / "stock" / file)
    whole = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    whole["model"] = {**OmegaConf.to_container(fields, enum_to_str=True), "_name": "transformer"}
    whole["task"] = task
    write_checkpoint(tmp_path / "stock" / "stock.pt", model, whole)
    assert evaluate("--path", small.folder / "one/subnet.pt", tmp_path / "stock/stock.pt")[0] == 0
    row = json.loads((tmp_path / "out/scores.json").read_text())[1]
    assert row["system"] == "stock" and row["costs"]["params"] == sum(p.numel() for p in model.parameters())
    assert re.match(r"weights:[0-9a-f]{12}\|beam:2", row["signature"])
    lines = (tmp_path / "out/translations/stock.test.txt").read_text().splitlines()
    assert lines == hub.load(str(tmp_path / "stock/stock.pt")).translate(small.sources, beam=2)


def test_a_folder_whose_name_is_no_text(small, tmp_path):
    command = [sys.executable, "-m", "fairseq_mos.cli", "evaluate", "--hypotheses", str(small.folder / "test.de")]
    command += ["--source-lang", "en", "--target-lang", "de", "--test-set", str(small.folder / "test")]
    done = run([*command, "--bootstrap", "0", "--output", os.fsdecode(b"out\xff")], tmp_path)
    assert "wrote out\\udcff/scores.json" in done.stdout and done.stderr == ""
    assert os.path.isfile(tmp_path / os.fsdecode(b"out\xff") / "scores.md")


def test_names():
    assert split_name("a=b/c.pt") == ("a", "b/c.pt") and split_name("x/found.pt") == ("found", "x/found.pt")
    assert split_name("x/y/checkpoint_best.pt") == ("y", "x/y/checkpoint_best.pt")
    assert split_name("lr=1/model.pt") == ("lr", "1/model.pt") and split_name("a/lr=1/m.pt") == ("m", "a/lr=1/m.pt")
