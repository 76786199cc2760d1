"""The systems of an evaluation: what they are called, and what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.documents import show
from fairseq_mos.download import file_digest
from fairseq_mos.errors import UserError
from fairseq_mos.metrics.testsets import TestSet, read_lines
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.config import method
from fairseq_mos.models.opening import Opened, open_model

_NAME_BYTES = 255
"""What file systems allow."""


@dataclass
class System:
    """A checkpoint to evaluate.

    Attributes:
        name: unique name.
        path: its checkpoint or folder.
        architecture: of a supernet, or None.
        opened: its files, until the model is loaded.
        bundle: the loaded model.
        identity: digests of all that its translations depend on.
        supernet: routing and experts of the supernet that it is a subnet of, as far as they are known.
    """

    name: str
    path: str
    architecture: str | None
    opened: Opened | None
    bundle: Bundle | None = None
    identity: dict = field(default_factory=dict)
    supernet: dict = field(default_factory=dict)

    def load(self) -> None:
        """Loads the model.

        Raises:
            UserError: it cannot be loaded.
        """
        self.bundle, self.opened = self.opened.bundle(self.architecture), None
        self.bundle.require("translation", "translates nothing: there is nothing to evaluate")
        # Before anything converts it to half precision.
        self.identity = identity(self.bundle)

    def signature(self) -> str:
        """Returns what the model is, as far as it is known."""
        config, about = self.bundle.config["model"], {"weights": self.identity["weights"][:12]}
        if config.get("search_space_definition"):
            about["space"] = SearchSpace.load(config["search_space_definition"]).name
        about.update(self.supernet)
        if config.get("architecture_definition"):
            about["architecture"] = Architecture.load(config["architecture_definition"]).digest()
        return "|".join(f"{name}:{value}" for name, value in about.items())


def named_systems(
    paths: Sequence[str],
    architectures: Sequence[str],
    others: Sequence[str] = (),
    data: str | None = None,
    trust: bool = False,
) -> list[System]:
    """Opens the systems that the flags describe, supernets with each architecture; none is loaded yet.

    Args:
        paths: each `PATH` or `NAME=PATH`.
        architectures: for supernets, each `ARCHITECTURE` or `NAME=ARCHITECTURE`.
        others: names that are taken.
        data: see :func:`fairseq_mos.models.opening.open_model`.
        trust: see there.

    Raises:
        UserError: nothing to open, two systems of one name, a supernet without architecture, or an architecture
            without supernet.
    """
    found: list[System] = []
    supernets = 0
    for text in paths:
        name, path = split_name(text)
        opened = open_model(path, data, trust)
        if opened.is_supernet:
            supernets += 1
            about = method(opened.state["cfg"].model)
            if not architectures:
                raise UserError(f"{path} is a supernet, which has many architectures: give --architecture")
            for architecture in architectures:
                short, architecture = given_name(architecture)
                # Not the path's stem, which would cut a name such as hat/..._bleu_25.8.
                short = short or Path(architecture).name.removesuffix(".yaml")
                found.append(System(f"{name}:{short}", path, architecture, opened, supernet=about))
        else:
            found.append(System(name, path, None, opened))
    if architectures and not supernets:
        raise UserError("--architecture is for supernets, and no --path is one")
    names = [*(system.name for system in found), *others]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        flags = "--path NAME=PATH, --architecture NAME=FILE or --hypotheses NAME=FILE"
        raise UserError(f"two systems are called {twice}: give them names, as in {flags}")
    return found


def given_name(text: str) -> tuple[str | None, str]:
    """Splits `NAME=VALUE`; the name is None where there is none."""
    name, equals, value = text.partition("=")
    return (name, value) if equals and name and value and "/" not in name else (None, text)


def split_name(text: str) -> tuple[str, str]:
    """Splits `NAME=PATH`; without a name, the file's, and its folder's where files are called alike."""
    name, path = given_name(text)
    if name is not None:
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


def identity(bundle: Bundle) -> dict[str, str]:
    """Returns digests of all of a model that its translations depend on.

    Weights alone do not tell models apart: heads, and which encoder layers a decoder attends to, change no tensor.
    """
    config = json.dumps(bundle.config["model"], sort_keys=True, default=str)
    return {
        "weights": weights_digest(bundle.model.state_dict()),
        "model": hashlib.sha256(config.encode()).hexdigest(),
        **{file.name: file_digest(file) for file in bundle.data.files()},
    }


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


def text_names(systems: Sequence[str], test_set: TestSet) -> dict[str, tuple[str, str]]:
    """Returns what is kept of a test set: what to call it -> the arguments of :func:`translation_file`."""
    texts = {f"{system} on {test_set.name}": (system, test_set.name) for system in systems}
    texts.update({f"the {part} of {test_set.name}": (test_set.name, part) for part in ("source", "reference")})
    return texts


def check_names(systems: Sequence[str], test_sets: Sequence[TestSet]) -> None:
    """Raises for names that could not stand in a table or in a file's name, or would stand in that of another text.

    Args:
        systems: names.
        test_sets: with all that is kept of them.

    Raises:
        UserError: shows the name, or both.
    """
    for name in (*systems, *(test_set.name for test_set in test_sets)):
        if not name.isprintable():
            raise UserError(f"the name {show(name)} cannot be printed: give another, as in NAME=PATH")
    taken: dict[Path, str] = {}
    for test_set in test_sets:
        for text, names in text_names(systems, test_set).items():
            # Letters, digits and -_. are all that is left of a name.
            file = translation_file(Path(), *names).with_suffix(".json")
            if file in taken:
                raise UserError(
                    f"{taken[file]} and {text} would both be written to {file.with_suffix('.txt')}: give other names, "
                    "as in NAME=PATH"
                )
            taken[file] = text
            size = len(os.fsencode(file))
            if size > _NAME_BYTES:
                raise UserError(
                    f"{show(text)[1:-1]}: a file of these names would have a name of {size} bytes, allowed: "
                    f"{_NAME_BYTES}; give shorter names, as in NAME=PATH"
                )


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
