"""FLOPs of trainings: each architecture's, on the tokens that it sees."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce.costs import BACKWARD, task_options, training_flops  # noqa: E402
from reproduce.estimate import update_flops  # noqa: E402
from reproduce.units import Training  # noqa: E402
from test_reproduce import TINY  # noqa: E402

from fairseq_mos.families import family_of  # noqa: E402
from fairseq_mos.tasks.options import sampler  # noqa: E402

FLOPS = family_of(TINY).flops


def supernet(updates: int, **flags: list[str]) -> Training:
    named = {"--" + name.replace("_", "-"): words for name, words in flags.items()}
    return Training("own", 3, updates, named, "c", TINY)


@pytest.mark.parametrize("own", [False, True])
def test_all_architectures_train_on_all_tokens_or_each_on_its_own(own):
    flags = {"num_random_archs": ["4"], "arch_fair": [], "update_freq": ["6"], "max_tokens": ["50"]}
    training = supernet(7, **flags, **({"arch_own_batches": []} if own else {}))
    cfg = task_options(training)
    assert (cfg.num_random_archs, cfg.arch_fair, cfg.arch_own_batches) == (4, True, own)
    drawn = sampler(cfg, TINY, 3)
    # Fair draws are others.
    assert drawn.of_update(0) != sampler(task_options(supernet(7, num_random_archs=["4"])), TINY, 3).of_update(0)
    dense = sum(FLOPS(one) for update in range(7) for _, one in drawn.of_update(update))
    expected = BACKWARD * dense * 300 / 30 / (6 if own else 1)
    assert training_flops(training, 300.0) == pytest.approx(expected)
    assert update_flops(training) == pytest.approx(expected / 7)


def test_time_goes_with_the_tokens_of_an_update():
    one = replace(supernet(1, max_tokens=["50"]), architecture=TINY.largest())
    assert update_flops(one) == BACKWARD * FLOPS(TINY.largest()) * 50 / 30
    more = replace(one, flags={"--max-tokens": ["50"], "--update-freq": ["4"]})
    assert update_flops(more) == 4 * update_flops(one)
