"""Test sets: sacreBLEU's by name, or raw text files."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.documents import read_text
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.metrics.bleu import base_language
from fairseq_mos.paths import exists, is_file

_PATIENCE = 60.0
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class TestSet:
    """A test set.

    Attributes:
        name: what to call it.
        sources: raw source sentences.
        references: one or several streams of raw references.
        file: that of the sources; sentence N is its line N.
    """

    __test__ = False  # its name would make pytest collect it

    name: str
    sources: list[str]
    references: list[list[str]]
    file: str = ""


def load_test_set(spec: str, source_lang: str, target_lang: str) -> TestSet:
    """Loads a test set.

    Args:
        spec: a name that sacreBLEU knows, such as `wmt14`, or the path of files without their endings:
            `PREFIX.SOURCE_LANG` and `PREFIX.TARGET_LANG`, one sentence a line.
        source_lang: language code.
        target_lang: language code.

    Raises:
        UserError: missing or unequal files, or a test set that cannot be had.
    """
    from sacrebleu import utils

    if exists(f"{spec}.{source_lang}") or exists(f"{spec}.{target_lang}"):
        if spec in utils.get_available_testsets():
            files = f"{spec}.{source_lang} and .{target_lang}"
            print(f"test set {spec}: the files {files}, not sacreBLEU's set of that name")
        return _read(Path(spec).name, f"{spec}.{source_lang}", [f"{spec}.{target_lang}"])
    return _of_sacrebleu(spec, source_lang, target_lang)


def _read(name: str, source: str, references: list[str]) -> TestSet:
    test_set = TestSet(name, read_lines(source), [read_lines(reference) for reference in references], source)
    for file, lines in zip(references, test_set.references):
        if len(lines) != len(test_set.sources):
            raise UserError(f"{source} has {len(test_set.sources)} lines, {file} has {len(lines)}")
    return test_set


def _of_sacrebleu(name: str, source_lang: str, target_lang: str) -> TestSet:
    from sacrebleu import utils

    if name not in utils.get_available_testsets():
        raise UserError(
            f"test set {name}: no files {name}.{source_lang} and {name}.{target_lang}, and sacreBLEU knows no such set"
        )
    pairs = utils.get_langpairs_for_testset(name)
    asked = f"{source_lang}-{target_lang}"
    # Its sets have languages without countries: zh, not zh-CN.
    plain = f"{base_language(source_lang)}-{base_language(target_lang)}"
    pair = asked if asked in pairs else plain
    if pair not in pairs:
        raise UserError(f"test set {name} has no pair {asked}, only {', '.join(sorted(pairs))}")
    if pair != asked:
        print(f"test set {name}: its pair {pair} for {asked}")
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        source = utils.get_source_file(name, pair)
        references = utils.get_reference_files(name, pair)
    except (Exception, SystemExit) as error:  # of the network, archives and parsers
        reason = "it is damaged" if isinstance(error, SystemExit) else one_line(error, 200) or type(error).__name__
        raise UserError(
            f"test set {name} cannot be downloaded ({reason}): check the network, or remove or put its files in "
            f"{Path(utils.SACREBLEU_DIR) / name}"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return _read(name, source, references)


def read_lines(path: str) -> list[str]:
    """Reads a text file, one sentence a line.

    Raises:
        UserError: unreadable, no text or empty.
    """
    if exists(path) and not is_file(path):
        raise UserError(f"cannot read {path}: it is no file of text")
    text = read_text(path, "text")
    # Not splitlines(): it would also break at characters that are part of a sentence, such as a lone carriage return.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty")
    return lines
