"""The systems of an evaluation: checkpoints that translate, or translations that are there already."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.metrics.testsets import TestSet, read_lines


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
        if self.beam < 1:
            raise UserError(f"--beam is {self.beam}, allowed: 1 or more")
        if self.max_tokens < 1:
            raise UserError(f"--max-tokens is {self.max_tokens}, allowed: 1 or more")

    def signature(self) -> str:
        """Returns what translations depend on besides model and text."""
        precision = "fp16" if self.fp16 else "fp32"
        return f"beam:{self.beam}|lenpen:{self.lenpen:g}|device:{self.device}|precision:{precision}"


@dataclass
class System:
    """A checkpoint to evaluate.

    Attributes:
        name: unique name.
        path: its checkpoint or folder.
        architecture: of a supernet, or None.
        bundle: the loaded model.
        digest: of its weights.
        costs: `params`, `params_no_embed`, `flops`, and `latency_ms` where it was measured.
    """

    name: str
    path: str
    architecture: str | None
    bundle: object = None
    digest: str = ""
    costs: dict = field(default_factory=dict)


def named_systems(paths: Sequence[str], architectures: Sequence[str]) -> list[System]:
    """Returns the systems that the flags describe, supernets with each architecture.

    Args:
        paths: each `PATH` or `NAME=PATH`.
        architectures: for supernets.

    Raises:
        UserError: two systems of one name, a supernet without architecture, or an architecture without supernet.
    """
    from fairseq_mos.models.loading import is_supernet, load_state

    found: list[System] = []
    supernets = 0
    for text in paths:
        name, path = split_name(text)
        if Path(path).is_file() and not path.endswith(".safetensors") and is_supernet(load_state(path)):
            supernets += 1
            if not architectures:
                raise UserError(f"{path} is a supernet, which has many architectures: give --architecture")
            for architecture in architectures:
                found.append(System(f"{name}:{Path(architecture).stem}", path, architecture))
        else:
            found.append(System(name, path, None))
    if architectures and not supernets:
        raise UserError("--architecture is for supernets, and no --path is one")
    names = [system.name for system in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two systems are called {twice}: give them names, as in --path NAME=PATH")
    return found


def split_name(text: str) -> tuple[str, str]:
    """Splits `NAME=PATH`; without a name, the file's, and its folder's where files are called alike."""
    name, equals, path = text.partition("=")
    if equals and name and path and "/" not in name:
        return name, path
    file = Path(text)
    plain = ("model", "subnet", "checkpoint_best", "checkpoint_last", "averaged", "average")
    if file.stem in plain and file.absolute().parent.name:
        return file.absolute().parent.name, text
    return file.stem or file.name, text


def read_hypotheses(text: str) -> tuple[str, list[str]]:
    """Reads `NAME=FILE`, translations one a line.

    Raises:
        UserError: an unreadable file.
    """
    name, path = split_name(text)
    return name, read_lines(path)


def translate(
    system: System, test_set: TestSet, decoding: Decoding, folder: Path, say: Callable[[str], None] = print
) -> list[str]:
    """Translates a test set, or takes the translations of an earlier run with the same model, text and options.

    Raises:
        UserError: a sentence that is too long for the model, or a folder that cannot be written to.
    """
    from fairseq_mos import hub

    file = translation_file(folder, system.name, test_set.name)
    key = {
        "weights": system.digest,
        "decoding": decoding.signature(),
        "bpe": decoding.bpe,
        "tokenizer": decoding.tokenizer,
        "source": hashlib.sha256("\n".join(test_set.sources).encode()).hexdigest(),
    }
    stamp = file.with_suffix(".json")
    try:
        if json.loads(stamp.read_text("utf-8")) == key:
            lines = file.read_text("utf-8").split("\n")[:-1]
            if len(lines) == len(test_set.sources):
                say(f"{system.name} on {test_set.name}: translated before ({file})")
                return lines
    except (OSError, ValueError):
        pass
    begin = time.monotonic()
    interface = hub.of_bundle(system.bundle, decoding.bpe, decoding.tokenizer, decoding.max_tokens)
    interface = interface.to(decoding.device)
    if decoding.fp16:
        interface = interface.half()
    tokens = [interface.encode(sentence) for sentence in test_set.sources]
    limit = interface.max_positions[0]
    longest = max(range(len(tokens)), key=lambda index: len(tokens[index]))
    if len(tokens[longest]) > limit:
        raise UserError(
            f"test set {test_set.name}: sentence {longest + 1} has {len(tokens[longest])} subwords, "
            f"{system.name} takes {limit} at most"
        )
    lines = _decode_in_pieces(interface, tokens, decoding, f"{system.name} on {test_set.name}")
    say(f"{system.name} on {test_set.name}: {len(lines)} sentences in {time.monotonic() - begin:.1f} s")
    with atomic_write(file) as stream:
        stream.writelines(f"{line}\n" for line in lines)
    with atomic_write(stamp) as stream:
        json.dump(key, stream, indent=1)
    return lines


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


def weights_digest(tensors: Mapping) -> str:
    """Returns a digest of tensors, names included."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().view(-1).float().numpy().tobytes())
    return digest.hexdigest()


def translation_file(folder: Path, system: str, test_set: str) -> Path:
    """Returns where a system's translations of a test set lie."""
    return folder / f"{_safe(system)}.{_safe(test_set)}.txt"


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
