"""Options that the tasks of all families have: which architectures an update trains, and how.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_mos.fields import ranged
from fairseq_mos.ranges import Range
from fairseq_mos.sampling.strategies import STRATEGIES

_ARCHITECTURES = Range(int, 0, 1000)


def _option(default, text):
    return field(default=default, metadata={"help": text})


@dataclass
class SupernetTaskConfig(FairseqDataclass):
    """Options of a supernet's training; the defaults are the method of the paper."""

    arch_sampling: ChoiceEnum(list(STRATEGIES)) = _option(
        "sandwich",
        "which architectures an update trains: sandwich (largest, smallest and random ones) or uniform (random "
        "ones alone) (default: sandwich)",
    )
    num_random_archs: int = ranged(1, "random architectures per update (default: 1)", _ARCHITECTURES)
    num_valid_archs: int = ranged(
        2, "fixed random architectures validated beside the largest and the smallest (default: 2)", _ARCHITECTURES
    )
    architecture: Optional[str] = _option(
        None,
        "pin one architecture for training, validation and generation: a YAML file, largest, smallest or "
        "random:SEED (default: none; generation then uses the largest)",
    )
    student_dropout: ChoiceEnum(["keep", "off"]) = _option(
        "keep",
        "dropout of all architectures of an update but the largest: keep, or off, as in BigNAS and AttentiveNAS; "
        "--router-dropout stays; needs --arch-sampling sandwich (default: keep)",
    )
