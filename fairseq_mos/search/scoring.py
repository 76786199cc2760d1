"""How candidates of a search are translated; read before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_mos.errors import UserError
from fairseq_mos.ranges import BEAM

POST_PROCESS = ("sentencepiece", "subword_nmt", "@@ ", "wordpiece", "letter", "silence", "_EOW", "none")
"""The kinds of subwords that fairseq joins."""


@dataclass(frozen=True)
class ScorerOptions:
    """How translations are made and joined before they are scored.

    Attributes:
        beam: beam size.
        post_process: how subwords are joined, one of fairseq's `--post-process` kinds; None: as the target side tells.

    Raises:
        UserError: a value that is not allowed.
    """

    beam: int = 5
    post_process: str | None = None

    def __post_init__(self) -> None:
        BEAM.check("--beam", self.beam)
        if self.post_process not in (None, *POST_PROCESS):
            raise UserError(f"--post-process is {self.post_process!r}, allowed: {', '.join(POST_PROCESS)}")
