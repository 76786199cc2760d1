"""How candidates of a search are scored: translated, or fine-tuned; read before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from fairseq_mos.errors import UserError
from fairseq_mos.ranges import BEAM, EXAMPLES, RATE, SEED, TUNING

POST_PROCESS = ("sentencepiece", "subword_nmt", "@@ ", "wordpiece", "letter", "silence", "_EOW", "none")
"""The kinds of subwords that fairseq joins."""


@dataclass(frozen=True)
class ProxyOptions:
    """The fine-tuning of a candidate on a proxy task; the defaults are a point of the published grid for GLUE.

    Attributes:
        data: folder of the task, as examples/glue prepares it; None: there is none.
        task: its name in GLUE; None: what the folder says.
        updates: of the fine-tuning.
        lr: peak learning rate; it falls linearly to 0.
        batch_size: examples of an update.
        seed: of head, dropout and order of examples.

    Raises:
        UserError: a value that is not allowed, or any without data.
    """

    data: str | None = None
    task: str | None = None
    updates: int = 100
    lr: float = 5e-5
    batch_size: int = 32
    seed: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (("updates", TUNING), ("lr", RATE), ("batch_size", EXAMPLES), ("seed", SEED)):
            allowed.check(f"--proxy-{name.replace('_', '-')}", getattr(self, name))
        given = any(getattr(self, one.name) != one.default for one in fields(self))
        if self.data is None and given:
            raise UserError("--proxy-task, --proxy-updates and the like need --proxy-data DIR")


@dataclass(frozen=True)
class ScorerOptions:
    """How candidates are scored.

    Attributes:
        beam: beam size of translations.
        post_process: how subwords are joined, one of fairseq's `--post-process` kinds; None: as the target side tells.
        proxy: how masked language models are fine-tuned.

    Raises:
        UserError: a value that is not allowed.
    """

    beam: int = 5
    post_process: str | None = None
    proxy: ProxyOptions = field(default_factory=ProxyOptions)

    def __post_init__(self) -> None:
        BEAM.check("--beam", self.beam)
        if self.post_process not in (None, *POST_PROCESS):
            raise UserError(f"--post-process is {self.post_process!r}, allowed: {', '.join(POST_PROCESS)}")
