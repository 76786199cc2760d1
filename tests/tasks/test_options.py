"""Options of a supernet's training that do not go together."""

from __future__ import annotations

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy

REFUSED = {
    "--num-random-archs 0 leaves no architecture": {"num_random_archs": 0, "arch_sampling": "uniform"},
    "--num-random-archs 0 with --extremes-every 2 leaves": {"num_random_archs": 0, "extremes_every": 2},
    "--extremes-every needs --arch-sampling sandwich": {"extremes_every": 2, "arch_sampling": "uniform"},
    "--student-dropout off needs --arch-sampling sandwich": {"student_dropout": "off", "arch_sampling": "uniform"},
    "--arch-list goes with neither": {"arch_list": "x", "arch_chain": 2},
    "--arch-fair needs --num-random-archs 2 or more, not 1": {"arch_fair": True},
    "--arch-own-batches goes with neither --extremes-every": {"arch_own_batches": True, "extremes_every": 2},
    "--arch-own-batches goes with neither --extremes-every nor": {"arch_own_batches": True, "arch_gradient": "sum"},
    "--arch-window-from needs --arch-window or --arch-list": {"arch_window_from": 5},
    **{
        f"--arch-window is '{text}', allowed: LOW:HIGH, two fractions": {"arch_window": text}
        for text in ("0.5", "0.5:0.5", "0.6:0.5", "a:b", "0:2", "nan:1", "0:0.5:1", ":")
    },
    "--cost-bins is -1, allowed: 0 to 1,000": {"cost_bins": -1},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(UserError, match=f"^{message}"):
        SupernetTranslation(SupernetTranslationConfig(seed=3, **REFUSED[message]), toy.dictionary(), toy.dictionary())


@pytest.mark.parametrize("other", [{"cost_bins": 2}, {"arch_chain": 2}, {"arch_window": "0:1"}, {"arch_list": "x"}])
def test_fair_draws_are_of_the_whole_space(other):
    cfg = SupernetTranslationConfig(seed=3, arch_fair=True, num_random_archs=2, **other)
    with pytest.raises(
        UserError, match="^--arch-fair goes with none of --cost-bins, --arch-chain, --arch-window and --arch-list$"
    ):
        SupernetTranslation(cfg, toy.dictionary(), toy.dictionary())
