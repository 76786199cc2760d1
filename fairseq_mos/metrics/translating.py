"""Translates test sets with the systems of an evaluation, each once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos import hub
from fairseq_mos.documents import read_json, read_text
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.metrics.systems import System, translation_file
from fairseq_mos.metrics.testsets import TestSet
from fairseq_mos.paths import is_file
from fairseq_mos.ranges import BEAM, LENPEN, TOKENS


@dataclass(frozen=True)
class Decoding:
    """How to translate; fairseq's options.

    Attributes:
        beam: beam size.
        lenpen: length penalty.
        max_tokens: source tokens of a batch.
        bpe: `none` for segmented text, else None.
        tokenizer: tokenizer before the subwords, or None.
        device: `cpu` or `cuda`.
        fp16: half precision, on the GPU.
    """

    beam: int = 5
    lenpen: float = 1.0
    max_tokens: int = 4096
    bpe: str | None = None
    tokenizer: str | None = None
    device: str = "cpu"
    fp16: bool = False

    def __post_init__(self) -> None:
        BEAM.check("--beam", self.beam)
        LENPEN.check("--lenpen", self.lenpen)
        TOKENS.check("--max-tokens", self.max_tokens)

    def signature(self) -> str:
        """Returns what translations depend on besides model and text."""
        precision = "fp16" if self.fp16 else "fp32"
        return f"beam:{self.beam}|lenpen:{self.lenpen:g}|device:{self.device}|precision:{precision}"


class Translator:
    """Translates with one system.

    Args:
        system: a loaded one.
        decoding: how to translate.
        folder: where translations lie.

    Raises:
        UserError: no subword model, or what else the model lacks to read raw text.
    """

    def __init__(self, system: System, decoding: Decoding, folder: Path):
        self.system, self.decoding, self.folder = system, decoding, folder
        self._tokens: dict[str, list] = {}
        self.interface = hub.of_bundle(system.bundle, decoding.bpe, decoding.tokenizer, decoding.max_tokens)

    def check(self, test_set: TestSet) -> None:
        """Raises for a test set that cannot be translated.

        Raises:
            UserError: a sentence that is too long for the model or for a batch.
        """
        if self._stored(test_set) is not None:
            return
        lengths = [len(tokens) for tokens in self._encoded(test_set)]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        positions, tokens = self.interface.max_positions[0], self.decoding.max_tokens
        if lengths[longest] > min(positions, tokens):
            model = f"{self.system.name} takes {positions} at most"
            limit = f"--max-tokens is {tokens}" if tokens < positions else model
            raise UserError(f"{test_set.file}: line {longest + 1} has {lengths[longest]} subwords, {limit}")

    def translate(self, test_set: TestSet, say: Callable[[str], None] = print) -> list[str]:
        """Translates a test set, or takes the translations of an earlier run with the same model, text and options.

        Raises:
            UserError: a folder that cannot be written to.
        """
        file, title = self._file(test_set), f"{self.system.name} on {test_set.name}"
        lines = self._stored(test_set)
        if lines is not None:
            say(f"{title}: translated before ({file})")
            return lines
        begin = time.monotonic()
        interface = self.interface.to(self.decoding.device)
        if self.decoding.fp16:
            interface = interface.half()
        lines = _decode_in_pieces(interface, self._encoded(test_set), self.decoding, title)
        say(f"{title}: {len(lines)} sentences in {time.monotonic() - begin:.1f} s")
        with atomic_write(file) as stream:
            stream.writelines(f"{line}\n" for line in lines)
        with atomic_write(file.with_suffix(".json")) as stream:
            json.dump(self._key(test_set, lines), stream, indent=1)
        return lines

    def _file(self, test_set: TestSet) -> Path:
        return translation_file(self.folder, self.system.name, test_set.name)

    def _key(self, test_set: TestSet, lines: Sequence[str]) -> dict:
        return {
            **self.system.identity,
            "decoding": self.decoding.signature(),
            "bpe": self.decoding.bpe,
            "tokenizer": self.decoding.tokenizer,
            "source": _digest(test_set.sources),
            "translations": _digest(lines),
        }

    def _stored(self, test_set: TestSet) -> list[str] | None:
        """Returns what an earlier run has left, if it is still right; what is damaged is made anew."""
        file = self._file(test_set)
        about = file.with_suffix(".json")
        if not is_file(file) or not is_file(about):
            return None
        try:
            lines = read_text(file, "translations").split("\n")[:-1]
            right = read_json(about, "translations") == self._key(test_set, lines)
        except UserError:
            return None
        return lines if right and len(lines) == len(test_set.sources) else None

    def _encoded(self, test_set: TestSet) -> list:
        if test_set.name not in self._tokens:
            self._tokens[test_set.name] = [self.interface.encode(sentence) for sentence in test_set.sources]
        return self._tokens[test_set.name]


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _decode_in_pieces(interface, tokens: Sequence, decoding: Decoding, title: str) -> list[str]:
    """Translates in length-sorted pieces, so that a bar can show how far it is."""
    from tqdm import tqdm

    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]), reverse=True)
    found: dict[int, str] = {}
    with tqdm(total=len(tokens), unit="sent", desc=title, dynamic_ncols=True, leave=False) as bar:
        begin = 0
        while begin < len(order):
            end, longest = begin + 1, len(tokens[order[begin]])
            while end < len(order) and (end - begin + 1) * longest <= decoding.max_tokens:
                end += 1
            piece = order[begin:end]
            results = interface.generate([tokens[index] for index in piece], decoding.beam, lenpen=decoding.lenpen)
            for index, hypotheses in zip(piece, results):
                # A line break inside a translation would shift all that follow.
                found[index] = interface.decode(hypotheses[0]["tokens"]).replace("\n", " ").replace("\r", " ")
            bar.update(len(piece))
            begin = end
    return [found[index] for index in range(len(tokens))]
