"""What an update trains depends on (seed, update) alone."""

from __future__ import annotations

import subprocess
import sys

from fairseq_mos.sampling.strategies import Sampler, Sampling
from tests import fairseq_commands as commands
from tests import toy


def _sampler(space, seed=1, **options) -> Sampler:
    return Sampler(space, seed, Sampling(**options))


def test_sandwich_is_largest_smallest_and_random():
    space = toy.space()
    sampled = _sampler(space, num_random=2).of_update(5)
    assert [role for role, _ in sampled] == ["largest", "smallest", "random", "random2"]
    assert sampled[0].architecture == space.largest() and sampled[1].architecture == space.smallest()
    uniform = _sampler(space, strategy="uniform", num_random=2).of_update(5)
    assert uniform == sampled[2:], "the same draws, without the ends"


def test_draws_depend_on_seed_and_update_and_nothing_else():
    space = toy.space()

    def draws(seed):
        sampler = _sampler(space, seed, strategy="uniform")
        return [sampler.of_update(update)[0].architecture for update in range(30)]

    assert draws(1) == draws(1)
    assert len({a.digest() for a in draws(1)}) > 25
    assert sum(a == b for a, b in zip(draws(1), draws(2))) < 5


def test_another_process_draws_the_same(tmp_path):
    space = toy.space()
    code = (
        "from tests import toy; from fairseq_mos.sampling.strategies import Sampler, Sampling;"
        "print(Sampler(toy.space(), 7, Sampling('uniform')).of_update(11)[0].architecture.digest())"
    )
    command = [sys.executable, "-c", code]
    environment = commands.environment(PYTHONHASHSEED="77")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    expected = _sampler(space, 7, strategy="uniform").of_update(11)[0].architecture.digest()
    assert done.stdout.strip() == expected, done.stderr


def test_representatives_are_fixed_members_of_the_space():
    space = toy.space()
    first, again = _sampler(space).representatives(2), _sampler(space, 2, cost_bins=9).representatives(2)
    assert first == again
    assert _sampler(space).representatives(3)[:4] == first
    for _, architecture in first:
        space.validate(architecture)
