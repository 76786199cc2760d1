"""BERT's WordPiece vocabularies (`vocab.txt`): their entries, and what they are in fairseq's words."""

from __future__ import annotations

from pathlib import Path

from fairseq_mos.documents import read_text
from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_file

FILE = "vocab.txt"
"""Name of a vocabulary; its entries' numbers are its lines'."""

SPECIAL = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
"""BERT's symbols -> fairseq's."""


def read_entries(file: Path) -> list[str]:
    """Reads the entries of a vocabulary, in order.

    Raises:
        UserError: it is missing, no text, or no vocabulary of BERT.
    """
    if not is_file(file):
        raise UserError(f"{file} is missing, expected BERT's vocabulary")
    entries = read_text(file, "vocabulary").split("\n")
    entries = entries[:-1] if entries[-1] == "" else entries
    missing = [symbol for symbol in SPECIAL if symbol not in entries]
    if missing:
        raise UserError(f"{file} is no vocabulary of BERT: it has no {', '.join(missing)}")
    return entries


def is_cased(entries: list[str]) -> bool:
    """Whether a vocabulary distinguishes capitals: else text is lowered, and loses its accents, before it is cut."""
    return any(entry != entry.lower() for entry in words(entries))


def configuration(file: Path) -> dict:
    """Returns fairseq's configuration of a vocabulary's `bert` encoder.

    Raises:
        UserError: see :func:`read_entries`.
    """
    return {"_name": "bert", "bpe_vocab_file": str(file), "bpe_cased": is_cased(read_entries(file))}


def words(entries: list[str]) -> list[str]:
    """Returns the entries of fairseq's dictionary: without BERT's symbols, which fairseq has under other names."""
    return [entry for entry in dict.fromkeys(entries) if not _is_symbol(entry)]


def _is_symbol(entry: str) -> bool:
    return entry in SPECIAL or entry.startswith("[unused")
