"""Architectures as users name them on a command line."""

from __future__ import annotations

import os
import random

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.reading import is_inline, load_document, show
from fairseq_mos.arch.shipped import shipped_file
from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.errors import UserError


def resolve(space: SearchSpace, text: str) -> Architecture:
    """Returns the architecture of the space that `text` names.

    Args:
        space: the search space.
        text: `largest`, `smallest`, `random:SEED`, a YAML file, inline JSON, or the name of a shipped
            architecture such as `hat/NAME`.

    Raises:
        UserError: none of these, or an architecture that is not of the space.
    """
    if text == "largest":
        return space.largest()
    if text == "smallest":
        return space.smallest()
    if text.startswith("random:"):
        seed = text[len("random:") :]
        # int() would also take "1_0", " 1" and other digits than these.
        if not (seed.isascii() and seed.isdigit() and len(seed) < 20):
            raise UserError(f"architecture {show(text)}: the seed is {show(seed)}, expected 0, 1, 2, ...")
        return space.sample(random.Random(int(seed)))
    if not is_inline(text) and not os.path.lexists(text.replace("\0", "")):
        shipped = shipped_file("archs", text)
        if shipped is None:
            raise UserError(
                f"architecture {show(text)}: no such file, expected largest, smallest, random:SEED, "
                "a YAML file, inline JSON or the name of a shipped architecture"
            )
        text = str(shipped)
    data, source = load_document(text, "architecture")
    arch = Architecture.from_dict(data, source)
    space.validate(arch, source)
    return arch
