"""Text that is cut with BERT's vocabulary: as fairseq's own encoder cuts it, and as the hub reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fairseq.data import Dictionary, encoders
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from bert.segment import main  # noqa: E402
from glue.preparing import encoder  # noqa: E402

from fairseq_mos import wordpiece  # noqa: E402
from tests.test_wordpiece import SYMBOLS, write  # noqa: E402

LINES = ["Ein Hund läuft.", "", "  zwei  Hunde, unbekannt!  ", "[MASK] ein\tHund 漢字", "x" * 120]
WORDS = ["ein", "hund", "##e", "lauf", "##t", "zwei", ".", ",", "!", "ma", "##sk", "[", "]", "漢"]


@pytest.mark.parametrize("words", [WORDS, [*WORDS, "Hund", "Ein", "läuf"]], ids=["uncased", "cased"])
def test_pieces_are_those_of_fairseqs_encoder(tmp_path, words):
    vocab, text = write(tmp_path, words), tmp_path / "train.txt"
    text.write_text("\n".join(LINES) + "\n", "utf-8")
    assert main(["--vocab", str(vocab), "--output", str(tmp_path / "out"), str(text)]) == 0
    theirs = encoders.build_bpe(OmegaConf.create(wordpiece.configuration(vocab)))
    found = (tmp_path / "out" / "train.txt").read_text("utf-8").split("\n")[:-1]
    assert found == [theirs.encode(line) for line in LINES]
    assert found[0].split()[:2] == (["Ein", "Hund"] if "Hund" in words else ["ein", "hund"])
    dictionary = Dictionary.load(str(tmp_path / "out" / "dict.txt"))
    assert dictionary.symbols[4:] == words
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == vocab.read_bytes()
    # GLUE's sentences are cut alike.
    assert encoder(vocab)(LINES) == [line.split() for line in found]


def test_bad_input_is_one_line(tmp_path, capsys):
    vocab, text = write(tmp_path, WORDS), tmp_path / "train.txt"
    text.write_bytes(b"gut\n\xff\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_text("".join(f"{word}\n" for word in SYMBOLS[:3]))
    for words, message in (
        ([vocab, text], f"{text} is no UTF-8"),
        ([vocab, other / "no.txt"], "no.txt is no file"),
        ([vocab, text, text], "train.txt: the pieces of each file are written under its name, which is taken"),
        ([other / "vocab.txt", text], "is no vocabulary of BERT: it has no [CLS], [SEP], [MASK]"),
    ):
        out = tmp_path / "out"
        assert main(["--vocab", str(words[0]), "--output", str(out), *map(str, words[1:])]) == 2
        said = capsys.readouterr().err.split("\r")[-1]  # behind the bar
        assert said.startswith("segment.py: error: ") and message in said and said.count("\n") == 1
        assert not out.exists() or not list(out.iterdir())
