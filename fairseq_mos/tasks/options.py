"""Options that the tasks of all families have: which architectures an update trains, and how.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.fields import ranged
from fairseq_mos.ranges import Range
from fairseq_mos.sampling.strategies import STRATEGIES, Sampler, Sampling

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
    extremes_every: int = ranged(
        1,
        "train the largest and the smallest architecture at every so many updates only: what is trained at every "
        "update gets ahead of its neighbours; needs --arch-sampling sandwich (default: 1)",
        Range(int, 1, 1_000_000),
    )
    cost_bins: int = ranged(
        0,
        "draw random architectures evenly over so many bins of FLOPs between the smallest and the largest, as in "
        "ShiftNAS; 0: draw every gene evenly, which hardly ever meets the extremes (default: 0)",
        Range(int, 0, 1000),
    )
    arch_chain: int = ranged(
        0,
        "let the random architectures of an update differ from those of the one before by one gene, as in MAGIC-T, "
        "and draw them anew at every so many updates; 0: at each (default: 0)",
        Range(int, 0, 10_000),
    )
    student_dropout: ChoiceEnum(["keep", "off"]) = _option(
        "keep",
        "dropout of all architectures of an update but the largest: keep, or off, as in BigNAS and AttentiveNAS; "
        "--router-dropout stays; needs --arch-sampling sandwich (default: keep)",
    )


def check(cfg: SupernetTaskConfig) -> None:
    """Checks options that depend on each other.

    Raises:
        UserError: some that do not go together.
    """
    if cfg.num_random_archs == 0 and cfg.arch_sampling == "uniform":
        raise UserError("--num-random-archs 0 leaves no architecture to train")
    if cfg.num_random_archs == 0 and cfg.extremes_every > 1:
        raise UserError(f"--num-random-archs 0 with --extremes-every {cfg.extremes_every} leaves updates without any")
    sandwich = {"--student-dropout off": cfg.student_dropout == "off", "--extremes-every": cfg.extremes_every > 1}
    for flag, given in sandwich.items():
        if given and cfg.arch_sampling != "sandwich":
            raise UserError(f"{flag} needs --arch-sampling sandwich")


def sampler(cfg: SupernetTaskConfig, space: SearchSpace, seed: int) -> Sampler:
    """Returns what draws the architectures of updates."""
    options = Sampling(
        strategy=str(cfg.arch_sampling),
        num_random=cfg.num_random_archs,
        extremes_every=cfg.extremes_every,
        cost_bins=cfg.cost_bins,
        chain=cfg.arch_chain,
    )
    return Sampler(space, seed, options)
