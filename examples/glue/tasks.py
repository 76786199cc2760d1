"""The eight tasks of GLUE: files, columns, labels, measures. Standard library only: `--help` needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where a published file has its columns.

    Attributes:
        label: the label's column: a name of the first line, or a number (from 0) in files without such a line.
        sentences: those of one or two sentences, likewise.
        columns: without a line of names: how many there are.
        more: whether there may be further ones.
    """

    label: str | int
    sentences: tuple[str | int, ...]
    columns: int = 0
    more: bool = False

    @property
    def named(self) -> bool:
        """Whether the first line has the names of the columns."""
        return isinstance(self.label, str)

    def __str__(self) -> str:
        if self.named:
            return f"columns named {', '.join((*map(str, self.sentences), str(self.label)))}"
        return f"{self.columns} {'or more ' * self.more}columns without names, number {int(self.label) + 1} the label"


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: its folder in GLUE's archive.
        layouts: how its files may look; which one a file has is told by its first line.
        labels: the classes, in the order of their numbers; none: a score from 0 to 5.
        dev: examples of GLUE's own dev set: scores of another one do not compare with published ones.
        splits: split -> file names, without ending, that may hold it.
        skips: lines of another number of columns are left out, not refused: GLUE's QQP has some.
    """

    name: str
    layouts: tuple[Layout, ...]
    labels: tuple[str, ...]
    dev: int
    splits: tuple[tuple[str, tuple[str, ...]], ...] = (("train", ("train",)), ("valid", ("dev",)))
    skips: bool = False

    @property
    def regression(self) -> bool:
        """Whether a number is predicted instead of a class."""
        return not self.labels


ENDINGS = (".tsv", ".tsv.gz", ".csv", ".csv.gz")
"""Of files; the STS benchmark calls its tab-separated ones .csv."""

LOWEST, HIGHEST = 0.0, 5.0
"""Of a score."""

_TRAIN = ("train", ("train",))
_TWO, _ENTAILED = ("0", "1"), ("entailment", "not_entailment")

TASKS = {
    task.name: task
    for task in (
        Task("CoLA", (Layout(1, (3,), 4),), _TWO, 1043),
        Task("SST-2", (Layout("label", ("sentence",)),), _TWO, 872),
        Task("MRPC", (Layout("Quality", ("#1 String", "#2 String")),), _TWO, 408),
        Task("QQP", (Layout("is_duplicate", ("question1", "question2")),), _TWO, 40_430, skips=True),
        Task(
            "STS-B",
            # GLUE's files, and those of the STS benchmark, some lines of which end with licences.
            (Layout("score", ("sentence1", "sentence2")), Layout(4, (5, 6), 7, more=True)),
            (),
            1500,
            (("train", ("train", "sts-train")), ("valid", ("dev", "sts-dev"))),
        ),
        Task(
            "MNLI",
            (Layout("gold_label", ("sentence1", "sentence2")),),
            ("contradiction", "neutral", "entailment"),
            9815,
            (_TRAIN, ("valid", ("dev_matched",)), ("valid1", ("dev_mismatched",))),
        ),
        Task("QNLI", (Layout("label", ("question", "sentence")),), _ENTAILED, 5463),
        Task("RTE", (Layout("label", ("sentence1", "sentence2")),), _ENTAILED, 277),
    )
}
"""By name, in the order of GLUE's tables."""

SEVEN = tuple(name for name in TASKS if name != "STS-B")
"""The tasks of the papers that leave STS-B out."""
