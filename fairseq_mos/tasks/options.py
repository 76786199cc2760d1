"""Options that the tasks of all families have: which architectures an update trains, and how.

No postponed annotations here: fairseq reads the field types at run time.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_mos.arch import SearchSpace
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError
from fairseq_mos.fields import ranged
from fairseq_mos.modules import router_warmup
from fairseq_mos.ranges import PROBABILITY, UPDATES, Range
from fairseq_mos.sampling.dealing import Dealer
from fairseq_mos.sampling.regions import read_list
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
    arch_fair: bool = _option(
        False,
        "let the random architectures of an update take the choices of every gene equally often, as FairNAS does: of "
        "3, one has each of 3 choices; needs --num-random-archs 2 or more",
    )
    arch_own_batches: bool = _option(
        False,
        "deal the batches of an update (--update-freq, of all processes) out to its architectures, equally many to "
        "each, instead of training every architecture on all of them: an update is as much work as one network's; "
        "the batches have to be a multiple of the architectures",
    )
    arch_window: Optional[str] = _option(
        None,
        "train architectures of LOW:HIGH times the largest's FLOPs alone (fractions, such as 0.3:0.6); the largest and "
        "the smallest are then drawn from its most and least expensive tenth; validation measures it too "
        "(default: none)",
    )
    arch_list: Optional[str] = _option(
        None,
        "train these architectures alone: a text file with one a line (a YAML file's name, inline JSON, a shipped "
        "name), or a folder of YAML files, such as a search's front; validation measures them too (default: none)",
    )
    arch_window_from: int = ranged(
        0, "update from which on --arch-window or --arch-list holds; the whole space before it (default: 0)", UPDATES
    )
    arch_gradient: ChoiceEnum(["mean", "sum"]) = _option(
        "mean",
        "how the gradients of an update's architectures are put together: mean (divided by the tokens of all of them) "
        "or sum (by the tokens of one) (default: mean)",
    )
    loss_weight_by_cost: float = ranged(
        0.0,
        "weigh each architecture's loss with its FLOPs over the largest's to this power: above 0 large ones learn "
        "faster, below 0 small ones (default: 0, all alike)",
        Range(float, -2.0, 2.0),
    )
    router_warmup: int = ranged(
        0,
        "updates during which routers mix all experts alike and learn nothing; needs routers, and experts that differ "
        "from the start (default: 0)",
        UPDATES,
    )
    student_dropout: ChoiceEnum(["keep", "off"]) = _option(
        "keep",
        "dropout of all architectures of an update but the largest: keep, or off, as in BigNAS and AttentiveNAS; "
        "--router-dropout stays; needs --arch-sampling sandwich (default: keep)",
    )
    fused_mixing: bool = _option(
        False,
        "mix experts, and make their gradients, in one kernel each, which torch.compile makes (it takes half a minute "
        "at the start); meant for GPUs, on a CPU the usual way is faster",
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
    if cfg.arch_list and (cfg.arch_window or cfg.arch_chain):
        raise UserError("--arch-list goes with neither --arch-window nor --arch-chain")
    if cfg.arch_fair and cfg.num_random_archs < 2:
        raise UserError(f"--arch-fair needs --num-random-archs 2 or more, not {cfg.num_random_archs}")
    if cfg.arch_fair and (cfg.cost_bins or cfg.arch_chain or cfg.arch_window or cfg.arch_list):
        raise UserError("--arch-fair goes with none of --cost-bins, --arch-chain, --arch-window and --arch-list")
    if cfg.arch_own_batches and (cfg.extremes_every > 1 or cfg.arch_gradient == "sum"):
        raise UserError("--arch-own-batches goes with neither --extremes-every nor --arch-gradient sum")
    if cfg.arch_window_from and not (cfg.arch_list or cfg.arch_window):
        raise UserError("--arch-window-from needs --arch-window or --arch-list")
    _window(cfg.arch_window)


def _window(text: Optional[str]) -> Optional[tuple[float, float]]:
    if not text:
        return None
    try:
        low, high = map(PROBABILITY, text.split(":"))
    except (ValueError, argparse.ArgumentTypeError):
        low = high = 0.0
    if not low < high:
        raise UserError(f"--arch-window is {show(text)}, allowed: LOW:HIGH, two fractions with 0 <= LOW < HIGH <= 1")
    return low, high


def start_router_warmup(cfg: SupernetTaskConfig, model) -> None:
    """Makes the routers of a new model mix all experts alike, if that is asked for.

    Raises:
        UserError: there are no routers, or equal experts, which with equal mixes get equal gradients for ever.
    """
    if not cfg.router_warmup:
        return
    if not any(router_warmup.routers(model)):
        raise UserError("--router-warmup needs routers: --routing global, layer or neuron, and 2 experts or more")
    if router_warmup.experts_are_equal(model):
        raise UserError("--router-warmup needs experts that differ: not --expert-init copy, nor --init-spread 0")
    router_warmup.begin_uniform(model)


def dealer(cfg: SupernetTaskConfig, update_freq: Sequence[int], rank: int, ranks: int) -> Optional[Dealer]:
    """Returns what deals the batches of an update out to its architectures; None: all train on all of them.

    Args:
        cfg: the options.
        update_freq: batches of an update on a rank, for each epoch.
        rank: this process.
        ranks: processes.

    Raises:
        UserError: they cannot be dealt out evenly.
    """
    if not cfg.arch_own_batches:
        return None
    number = cfg.num_random_archs + (2 if cfg.arch_sampling == "sandwich" else 0)
    if len(set(update_freq)) != 1 or update_freq[0] * ranks % number:
        given = ",".join(map(str, update_freq)) + (f" on {ranks} processes" if ranks > 1 else "")
        raise UserError(
            f"--arch-own-batches deals the batches of an update out to {number} architectures: --update-freq is "
            f"{given}, allowed: one that makes a multiple of {number}"
        )
    return Dealer(number, update_freq[0], rank, ranks)


def sampler(cfg: SupernetTaskConfig, space: SearchSpace, seed: int) -> Sampler:
    """Returns what draws the architectures of updates.

    Raises:
        UserError: a window without architectures, or a list that cannot be read.
    """
    options = Sampling(
        strategy=str(cfg.arch_sampling),
        num_random=cfg.num_random_archs,
        extremes_every=cfg.extremes_every,
        cost_bins=cfg.cost_bins,
        chain=cfg.arch_chain,
        fair=cfg.arch_fair,
        window=_window(cfg.arch_window),
        listed=read_list(space, cfg.arch_list) if cfg.arch_list else (),
        narrow_from=cfg.arch_window_from,
    )
    return Sampler(space, seed, options)
