"""From an update on, only architectures of a cost window or of a list."""

from __future__ import annotations

import json
import random
import re

import pytest

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.sampling.regions import read_list
from fairseq_mos.sampling.strategies import Sampler, Sampling
from tests import toy


def _shares(space, sampled) -> list[float]:
    """FLOPs relative to the largest."""
    flops = family_of(space).flops
    return [flops(architecture) / flops(space.largest()) for _, architecture in sampled]


@pytest.mark.parametrize("options", [{}, {"cost_bins": 6}, {"chain": 4}], ids=str)
@pytest.mark.parametrize("name", ["tiny", "wmt"])
def test_after_the_warm_up_all_are_of_the_window(name, options):
    space = SearchSpace.load(name)
    narrow = Sampler(space, 1, Sampling(num_random=2, window=(0.4, 0.7), narrow_from=5, **options))
    whole = Sampler(space, 1, Sampling(num_random=2, **options))
    assert [narrow.of_update(u) for u in range(5)] == [whole.of_update(u) for u in range(5)]
    largest = set()
    for update in range(5, 17):
        sampled = narrow.of_update(update)
        assert [role for role, _ in sampled] == ["largest", "smallest", "random", "random2"]
        shares = _shares(space, sampled)
        assert 0.67 <= shares[0] <= 0.7 and 0.4 <= shares[1] <= 0.43
        assert all(0.4 <= share <= 0.7 for share in shares)
        largest.add(sampled[0].architecture)
    assert len(largest) > 6, "no single one is trained at every update"
    fresh = Sampler(space, 1, Sampling(num_random=2, window=(0.4, 0.7), narrow_from=5, **options))
    assert fresh.of_update(7) == narrow.of_update(7), "a resumed run"


def test_random_ones_change_by_one_gene_within_the_window():
    space = toy.space(layers=[3])
    sampler = Sampler(space, 1, Sampling("uniform", window=(0.6, 0.8), narrow_from=5, chain=100))
    genes = [space.to_genes(sampler.of_update(update)[0].architecture) for update in range(5, 25)]
    assert {sum(a != b for a, b in zip(*pair)) for pair in zip(genes, genes[1:])} == {1}


def test_validation_measures_the_window_from_the_start():
    space = toy.space()
    samplers = [
        Sampler(space, seed, Sampling(window=(0.5, 0.9), narrow_from=9, cost_bins=bins))
        for seed, bins in ((1, 0), (2, 4))
    ]
    first, second = (sampler.representatives(3) for sampler in samplers)
    assert first == second and [role for role, _ in first][:2] == ["largest", "smallest"]
    assert all(0.5 <= share <= 0.9 for share in _shares(space, first))


def test_a_window_without_architectures():
    message = r"--arch-window 0:0.1: no architecture found there; those of search space 'toy' have 0\.\d+ to 1 of"
    with pytest.raises(UserError, match=message):
        Sampler(toy.space(), 1, Sampling(window=(0, 0.1)))


def test_a_list_alone_is_trained(tmp_path):
    space, rng = toy.space(), random.Random(5)
    listed = tuple(space.sample(rng) for _ in range(4))
    for i, architecture in enumerate(listed):
        architecture.save(tmp_path / f"{i}.yaml")
    lines = ["# a front", "", str(tmp_path / "0.yaml"), *(arch.to_json() for arch in listed[1:]), listed[1].to_json()]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    for source in (str(tmp_path), str(tmp_path / "list.txt"), json.dumps([arch.to_dict() for arch in listed])):
        assert read_list(space, source) == listed
    sampler = Sampler(space, 1, Sampling(listed=listed, narrow_from=2))
    assert sampler.of_update(1)[0].architecture == space.largest()
    sampled = [sampler.of_update(update) for update in range(2, 40)]
    costs = sorted(_shares(space, [("", arch) for arch in listed]))
    for update in (*sampled, sampler.representatives(2)):
        shares = _shares(space, update)
        assert (shares[0], shares[1]) == (costs[-1], costs[0])
    assert {architectures[2].architecture for architectures in sampled} == set(listed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing", "list.txt: no architectures in it, expected one a line, or a folder of YAML files"),
        ("largest\nnone.yaml", "architecture 'none.yaml': no such file"),
        ("{}", "inline architecture: "),
    ],
)
def test_bad_lists(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_list(toy.space(), str(tmp_path / "list.txt"))
    with pytest.raises(UserError, match="cannot read the list of architectures"):
        read_list(toy.space(), str(tmp_path / "absent.txt"))
