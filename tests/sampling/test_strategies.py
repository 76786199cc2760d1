"""What an update trains depends on (seed, update) alone."""

from __future__ import annotations

import subprocess
import sys

from fairseq_mos.sampling.strategies import architectures_of_update, representatives
from tests import fairseq_commands as commands
from tests import toy


def test_sandwich_is_largest_smallest_and_random():
    space = toy.space()
    sampled = architectures_of_update(space, "sandwich", 2, seed=1, update=5)
    assert [role for role, _ in sampled] == ["largest", "smallest", "random", "random2"]
    assert sampled[0].architecture == space.largest() and sampled[1].architecture == space.smallest()
    uniform = architectures_of_update(space, "uniform", 2, seed=1, update=5)
    assert uniform == sampled[2:], "the same draws, without the ends"


def test_draws_depend_on_seed_and_update_and_nothing_else():
    space = toy.space()

    def draws(seed):
        return [architectures_of_update(space, "uniform", 1, seed, u)[0].architecture for u in range(30)]

    assert draws(1) == draws(1)
    assert len({a.digest() for a in draws(1)}) > 25
    assert sum(a == b for a, b in zip(draws(1), draws(2))) < 5


def test_another_process_draws_the_same(tmp_path):
    space = toy.space()
    code = (
        "from tests import toy; from fairseq_mos.sampling.strategies import architectures_of_update as f;"
        "print(f(toy.space(), 'uniform', 1, 7, 11)[0].architecture.digest())"
    )
    command = [sys.executable, "-c", code]
    environment = commands.environment(PYTHONHASHSEED="77")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    expected = architectures_of_update(space, "uniform", 1, 7, 11)[0].architecture.digest()
    assert done.stdout.strip() == expected, done.stderr


def test_representatives_are_fixed_members_of_the_space():
    space = toy.space()
    first, again = representatives(space, 2), representatives(space, 2)
    assert first == again
    assert representatives(space, 3)[:4] == first
    for _, architecture in first:
        space.validate(architecture)
