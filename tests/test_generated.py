"""What fairseq-generate printed as a corpus: by hand, and from a teacher to a student through fairseq's commands."""

from __future__ import annotations

import re

import pytest
import torch
from fairseq.data import Dictionary, data_utils

from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.generated import read_generated, write_corpus
from tests import fairseq_commands as commands
from tests.supernet_commands import PLUGIN

PRINTED = """\
2026-01-01 | INFO | fairseq_cli.generate | loading
S-3\t▁drei ▁Ka tzen
T-3\t▁three ▁ca ts
H-3\t-0.5\t▁three ▁ca ts
D-3\t-0.5\t▁three ▁ca ts
P-3\t-0.1 -0.2
H-3\t-0.9\t▁a ▁worse ▁one
S-0\t▁null
H-0\t-0.1\t▁zero
S-1\t▁eins
H-1\t-2.5\t
S-4\t▁vier
H-4\t-0.7\t▁four ▁four ▁four ▁four ▁four
Generate train with beam=2: BLEU4 = 1.00
"""


@pytest.fixture
def printed(tmp_path):
    (tmp_path / "generated.txt").write_text(PRINTED, "utf-8")
    return tmp_path / "generated.txt"


def test_sentences_are_in_the_order_of_the_data(printed):
    found = read_generated(printed)
    assert list(found) == [0, 1, 3, 4]
    assert (found[3].source, found[3].hypothesis, found[3].score) == ("▁drei ▁Ka tzen", "▁three ▁ca ts", "-0.5")
    assert found[1].hypothesis == ""


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (None, ["▁null\t▁zero", "▁drei ▁Ka tzen\t▁three ▁ca ts"]),
        ("sentencepiece", ["null\tzero", "drei Katzen\tthree cats"]),
    ],
)
def test_what_is_left_out_is_counted(printed, tmp_path, capsys, kind, lines):
    words = ["corpus", "--inputs", str(printed), "--output", str(tmp_path / "c"), "--max-length", "4"]
    words += ["--source-lang", "de", "--target-lang", "en", *(["--post-process", kind] if kind else [])]
    assert main(words) == 0
    sides = [(tmp_path / f"c.{language}").read_text("utf-8").splitlines() for language in ("de", "en")]
    assert ["\t".join(pair) for pair in zip(*sides)] == lines
    said = capsys.readouterr().out
    assert "2 of 5 sentences; left out: 1 empty, 1 of more than 4 tokens, 1 that were not translated" in said


def test_subword_nmt_is_rejoined_and_no_sentence_becomes_two_lines(tmp_path):
    (tmp_path / "g").write_text("S-0\tei@@ ns\rzwei\x85drei\nH-0\t-1\to@@ ne\u2028two\n", "utf-8")
    counts = write_corpus(read_generated(tmp_path / "g"), [tmp_path / "a", tmp_path / "b"], 10, "subword_nmt")
    assert dict(counts) == {"kept": 1, "empty": 0, "long": 0, "missing": 0}
    assert (tmp_path / "a").read_text("utf-8") == "eins zwei\x85drei\n"
    assert (tmp_path / "b").read_text("utf-8") == "one\u2028two\n"


def test_shards_are_put_together(tmp_path):
    for shard in range(3):
        lines = [f"S-{i}\ts{i}\nH-{i}\t-1\th{i}\n" for i in reversed(range(shard, 8, 3))]
        (tmp_path / str(shard)).write_text("".join(lines))
    found = read_generated(*(tmp_path / str(shard) for shard in range(3)))
    assert [sentence.hypothesis for sentence in found.values()] == [f"h{i}" for i in range(8)]
    (tmp_path / "again").write_text((tmp_path / "1").read_text())
    with pytest.raises(UserError, match="again and .*1 both hold sentence 7: give each output once"):
        read_generated(tmp_path / "1", tmp_path / "again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no sentence: expected what fairseq-generate prints"),
        (b"nothing of that kind\n", "holds no sentence"),
        (b"S-0\ta\nH-0\t-1\tb\nS-1\tc\n", "sentence 1 has no hypothesis (H-): the output of fairseq-generate is cut"),
        (b"S-0\ta\nH-0\t-1\thalf a sen", "is cut off: its last line has no end"),
        (b"H-0\t-1\tb\n", "sentence 0 has no source (S-)"),
        (b"S-0\ta\nH-0\t-1\t\n", "no sentence is left: 1 are empty, 0 have hypotheses of more than 200 tokens"),
        (b"S-0\ta\nH-0\t-1\t\xff\n", "is no UTF-8 text file"),
    ],
)
def test_bad_output_is_one_line_and_leaves_nothing(tmp_path, capsys, text, message):
    (tmp_path / "g").write_bytes(text)
    words = ["corpus", "--inputs", str(tmp_path / "g"), "--output", str(tmp_path / "c")]
    assert main([*words, "--source-lang", "de", "--target-lang", "en"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def test_one_language_is_no_pair(printed, tmp_path, capsys):
    words = ["corpus", "--inputs", str(printed), "--output", str(tmp_path / "c")]
    assert main([*words, "--source-lang", "de", "--target-lang", "de"]) == 2
    assert "--source-lang and --target-lang are both de" in capsys.readouterr().err


def test_from_a_teacher_to_a_student(tmp_path):
    data = commands.write_corpus(tmp_path)
    train = ["fairseq-train", "bin", *commands.TINY, *PLUGIN, "--no-epoch-checkpoints"]
    generate = ["fairseq-generate", "bin", *PLUGIN, "--path", "teacher/checkpoint_last.pt", "--gen-subset", "train"]
    generate += ["--beam", "2", "--cpu", "--max-tokens", "64", "--num-workers", "0", "--results-path"]
    steps = [[*train, "--max-update", "20", "--save-dir", "teacher"], [*generate, "all"]]
    steps += [[*generate, f"shard{i}", "--distributed-world-size", "2", "--distributed-rank", str(i)] for i in range(2)]
    commands.run_steps(steps, tmp_path)
    words = ["corpus", "--source-lang", "a", "--target-lang", "b", "--max-length", "100", "--inputs"]
    name = "generate-train.txt"
    assert main([*words, str(tmp_path / "all" / name), "--output", str(tmp_path / "made")]) == 0
    shards = [str(tmp_path / f"shard{i}" / name) for i in range(2)]
    assert main([*words, *shards, "--output", str(tmp_path / "parts")]) == 0
    sides = {side: (tmp_path / f"made.{side}").read_text().splitlines() for side in "ab"}
    assert {side: (tmp_path / f"parts.{side}").read_text().splitlines() for side in "ab"} == sides
    # Nothing was left out, and the sources are the data's.
    assert sides["a"] == (tmp_path / "train.a").read_text().splitlines()
    best = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", (tmp_path / "all" / name).read_text(), flags=re.M))
    assert sides["b"] == [best[str(index)] for index in range(45)]
    assert sides["b"] != (tmp_path / "train.b").read_text().splitlines()
    preprocess = ["fairseq-preprocess", "-s", "a", "-t", "b", "--trainpref", "made", "--validpref", "valid"]
    preprocess += ["--srcdict", "bin/dict.a.txt", "--tgtdict", "bin/dict.b.txt", "--destdir", "distilled"]
    student = [word if word != "bin" else "distilled" for word in train]
    commands.run_steps([preprocess, [*student, "--max-update", "2", "--save-dir", "student"]], tmp_path)
    dictionary = Dictionary.load(str(data / "dict.b.txt"))
    assert Dictionary.load(str(tmp_path / "distilled" / "dict.b.txt")) == dictionary
    found = data_utils.load_indexed_dataset(str(tmp_path / "distilled" / "train.a-b.b"), dictionary)
    assert [dictionary.string(found[index]) for index in range(len(found))] == sides["b"]
    assert torch.load(tmp_path / "student" / "checkpoint_last.pt", weights_only=True)["optimizer_history"]
