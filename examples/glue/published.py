"""Published averages and scores on GLUE's dev sets, in percent; none of them was measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published row.

    Attributes:
        name: of the model.
        params: as its authors count them; None: not told in the comparison.
        average: over its tasks.
        tasks: how many: 7 (without STS-B) or 8; None: its source does not say which.
        distilled: whether it had a teacher in fine-tuning; None: not told.
        scores: by task.
    """

    name: str
    params: float | None
    average: float
    tasks: int | None
    distilled: bool | None
    scores: dict[str, float] | None = None


_NAS_BERT60 = {
    "MNLI": 84.1, "QQP": 91.0, "QNLI": 91.3, "CoLA": 58.1, "SST-2": 92.1, "STS-B": 89.4, "RTE": 79.2, "MRPC": 88.5,
}  # fmt: skip
_TEACHER = {
    "MNLI": 85.2, "QQP": 91.0, "QNLI": 91.3, "CoLA": 61.0, "SST-2": 92.9, "STS-B": 90.3, "RTE": 76.0, "MRPC": 87.7,
}  # fmt: skip

PUBLISHED = (
    Published("NAS-BERT's teacher", 110e6, 84.4, 8, False, _TEACHER),
    Published("NAS-BERT", 60e6, 84.2, 8, True, _NAS_BERT60),
    *(Published("NAS-BERT", size, score, 8, True) for size, score in ((30e6, 80.3), (10e6, 75.5), (5e6, 72.7))),
    *(
        Published("NAS-BERT", size, score, 8, False)
        for size, score in ((60e6, 83.2), (30e6, 80.0), (10e6, 75.2), (5e6, 72.3))
    ),
    *(
        Published("hand-made BERT (NAS-BERT's)", size, score, 8, False)
        for size, score in ((60e6, 82.5), (30e6, 79.2), (10e6, 74.0), (5e6, 68.4))
    ),
    Published("BERT-base (AutoDistil's)", 110e6, 82.2, 7, False),
    *(
        Published("AutoDistil", size, score, 7, None)
        for size, score in ((50.1e6, 81.7), (26.1e6, 79.9), (6.88e6, 72.6))
    ),
    *(
        Published(f"AutoTinyBERT {number} of 4 (7.2 to 27.2 times faster)", None, score, None, None)
        for number, score in enumerate((78.3, 76.4, 75.3, 73.0), 1)
    ),
)
"""NAS-BERT (Xu et al. 2021), AutoDistil (Xu et al. 2022), AutoTinyBERT (Yin et al. 2021). The teacher's average is that
of its scores; AutoDistil distils in pretraining."""
