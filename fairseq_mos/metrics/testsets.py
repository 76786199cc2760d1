"""Test sets: sacreBLEU's by name, or raw text files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.errors import UserError


@dataclass(frozen=True)
class TestSet:
    """A test set.

    Attributes:
        name: what to call it.
        sources: raw source sentences.
        references: one or several streams of raw references.
    """

    __test__ = False  # its name would make pytest collect it

    name: str
    sources: list[str]
    references: list[list[str]]


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

    if Path(f"{spec}.{source_lang}").exists() or Path(f"{spec}.{target_lang}").exists():
        sources, references = read_lines(f"{spec}.{source_lang}"), read_lines(f"{spec}.{target_lang}")
        if len(sources) != len(references):
            raise UserError(
                f"{spec}.{source_lang} has {len(sources)} lines, {spec}.{target_lang} has {len(references)}"
            )
        if spec in utils.get_available_testsets():
            files = f"{spec}.{source_lang} and .{target_lang}"
            print(f"test set {spec}: the files {files}, not sacreBLEU's set of that name")
        return TestSet(Path(spec).name, sources, [references])
    return _of_sacrebleu(spec, f"{source_lang}-{target_lang}")


def _of_sacrebleu(name: str, pair: str) -> TestSet:
    from sacrebleu import utils

    if name not in utils.get_available_testsets():
        source, target = pair.split("-")
        raise UserError(
            f"test set {name}: no files {name}.{source} and {name}.{target}, and sacreBLEU knows no such set"
        )
    pairs = utils.get_langpairs_for_testset(name)
    if pair not in pairs:
        raise UserError(f"test set {name} has no pair {pair}, only {', '.join(sorted(pairs))}")
    try:
        source = utils.get_source_file(name, pair)
        references = utils.get_reference_files(name, pair)
    except (OSError, SystemExit, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"test set {name} cannot be downloaded ({reason}): check the network, or put its files into "
            f"{utils.SACREBLEU_DIR}"
        ) from error
    return TestSet(name, read_lines(source), [read_lines(reference) for reference in references])


def read_lines(path: str) -> list[str]:
    """Reads a text file, one sentence a line.

    Raises:
        UserError: unreadable or empty.
    """
    try:
        # Not read_text(), which would break lines at a lone carriage return, unlike sacreBLEU.
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    # Not splitlines(): it would also break at characters that are part of a sentence.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty")
    return lines
