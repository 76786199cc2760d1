"""BERT's vocabularies: entries, capitals, and one line for what is none."""

from __future__ import annotations

import pytest

from fairseq_mos import wordpiece
from fairseq_mos.errors import UserError

SYMBOLS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(folder, words, symbols=SYMBOLS):
    file = folder / "vocab.txt"
    file.write_text("".join(f"{entry}\n" for entry in [*symbols, *words]), "utf-8")
    return file


def test_entries_and_words(tmp_path):
    file = write(tmp_path, ["ein", "##e", "ein", "²"])
    assert wordpiece.read_entries(file) == [*SYMBOLS, "ein", "##e", "ein", "²"]
    assert wordpiece.words(wordpiece.read_entries(file)) == ["ein", "##e", "²"]
    assert wordpiece.configuration(file) == {"_name": "bert", "bpe_vocab_file": str(file), "bpe_cased": False}


@pytest.mark.parametrize("word, cased", [("Hund", True), ("##E", True), ("hund", False), ("漢", False), ("ß", False)])
def test_capitals_tell_that_a_vocabulary_is_cased(word, cased):
    assert wordpiece.is_cased([*SYMBOLS, "und", word]) == cased


def test_what_is_no_vocabulary(tmp_path):
    with pytest.raises(UserError, match="vocab.txt is missing, expected BERT's vocabulary"):
        wordpiece.read_entries(tmp_path / "vocab.txt")
    with pytest.raises(UserError, match=r"vocab.txt is no vocabulary of BERT: it has no \[CLS\], \[MASK\]"):
        wordpiece.read_entries(write(tmp_path, ["ein"], ["[PAD]", "[UNK]", "[SEP]"]))
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe[PAD]\n")
    with pytest.raises(UserError, match="vocab.txt"):
        wordpiece.read_entries(tmp_path / "vocab.txt")
