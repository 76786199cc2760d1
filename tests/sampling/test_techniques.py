"""Options of sampling: evenly over costs, by one gene an update, extremes less often."""

from __future__ import annotations

import random

import pytest

from fairseq_mos.arch import SearchSpace
from fairseq_mos.families import family_of
from fairseq_mos.sampling.regions import CostBins
from fairseq_mos.sampling.strategies import Sampler, Sampling
from tests import toy

ALL = {"num_random": 2, "extremes_every": 3, "cost_bins": 4, "chain": 5}


def _random(sampler, update):
    return [architecture for role, architecture in sampler.of_update(update) if role.startswith("random")]


def _flops(space, architectures) -> list[float]:
    """FLOPs, from 0 (smallest) to 1 (largest)."""
    flops = family_of(space).flops
    low, high = flops(space.smallest()), flops(space.largest())
    return [(flops(architecture) - low) / (high - low) for architecture in architectures]


def test_defaults_draw_what_they_always_have():
    sampler = Sampler(toy.space(), 1, Sampling(num_random=2))
    drawn = {update: [arch.digest() for arch in _random(sampler, update)] for update in (0, 7, 1000)}
    assert drawn == {
        0: ["8757d9dc8e74", "8260aa25d53f"],
        7: ["06a41f2288b8", "6d352ada2bd6"],
        1000: ["9c4435bffdd0", "6389de9d49aa"],
    }
    assert [arch.digest() for _, arch in sampler.representatives(2)[2:]] == ["ad8efb062ad9", "bab52be57c7a"]


@pytest.mark.parametrize("name", ["tiny", "wmt"])
def test_cost_bins_are_drawn_evenly(name):
    space, bins, updates = SearchSpace.load(name), 10, 200

    def counts(cost_bins):
        sampler = Sampler(space, 1, Sampling("uniform", cost_bins=cost_bins))
        shares = _flops(space, [_random(sampler, update)[0] for update in range(updates)])
        places = [min(bins - 1, int(share * bins)) for share in shares]
        return [places.count(i) for i in range(bins)]

    # 20 are expected in each, with a standard deviation of 4.2.
    assert min(counts(bins)) >= 8 and max(counts(bins)) <= 33
    assert counts(0)[-1] == 0, "genes that are drawn evenly miss the most expensive tenth"


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("strategy", ["sandwich", "uniform"])
def test_fair_architectures_take_turns_at_the_choices_of_every_gene(number, strategy):
    space = SearchSpace.load("tiny")
    sampler = Sampler(space, 1, Sampling(strategy, number, fair=True))
    first = [0] * number
    for update in range(60):
        drawn = _random(sampler, update)
        assert len(drawn) == number
        for gene in ("encoder.embed_dim", "decoder.embed_dim", "decoder.layers"):
            stack, name = gene.split(".")
            values = [arch.to_dict()[stack][name] for arch in drawn]
            choices = next(one.choices for one in space.genes if one.name == gene)
            counts = [values.count(choice) for choice in choices]
            assert sum(counts) == number and max(counts) - min(counts) <= 1
        for place, arch in enumerate(drawn):
            first[place] += arch.to_dict()["decoder"]["layers"] == 3
    # Each by itself is uniform over three depths: 20 are expected, with a standard deviation of 3.7.
    assert all(8 <= count <= 32 for count in first)


def test_fair_draws_differ_between_updates_and_seeds():
    space = SearchSpace.load("tiny")
    first, other = (Sampler(space, seed, Sampling("uniform", 3, fair=True)) for seed in (1, 2))
    assert first.of_update(7) == first.of_update(7)
    assert len({tuple(arch.digest() for arch in _random(first, update)) for update in range(30)}) == 30
    assert _random(first, 7) != _random(other, 7)


def test_an_empty_bin_yields_one_nearby():
    space = toy.space()
    region = CostBins(space, bins=1)
    almost = region.low + 0.9995 * (region.high - region.low)
    genes = region.between(almost, almost + 1, random.Random(2))
    assert _flops(space, [space.from_genes(genes)])[0] > 0.97


def test_one_gene_changes_an_update_until_all_are_drawn_anew():
    space = toy.space(layers=[3])
    sampler = Sampler(space, 1, Sampling("uniform", num_random=2, chain=8))
    genes = [[space.to_genes(arch) for arch in _random(sampler, update)] for update in range(32)]
    for update in range(1, 32):
        for before, after in zip(genes[update - 1], genes[update]):
            changed = sum(a != b for a, b in zip(before, after))
            assert changed == 1 if update % 8 else changed > 3
    plain = Sampler(space, 1, Sampling("uniform", num_random=2))
    assert [_random(sampler, u) for u in (0, 8)] == [_random(plain, u) for u in (0, 8)], "where chains begin"


def test_a_deeper_architecture_has_the_layers_that_were_drawn_for_it():
    """Not always the largest choices, which is what `to_genes` says of layers that are not there."""
    space = toy.space(layers=[2, 1], ffn_dims=[64, 32])
    sampler = Sampler(space, 1, Sampling("uniform", chain=200))
    decoders = [_random(sampler, update)[0].decoder for update in range(200)]
    grown = [b.ffn_dims[1] for a, b in zip(decoders, decoders[1:]) if (a.layers, b.layers) == (1, 2)]
    assert {64, 32} == set(grown)


def test_extremes_come_at_every_third_update():
    sampler = Sampler(toy.space(), 1, Sampling(extremes_every=3))
    always = Sampler(toy.space(), 1, Sampling())
    for update in range(7):
        roles = [role for role, _ in sampler.of_update(update)]
        assert roles == (["random"] if update % 3 else ["largest", "smallest", "random"])
        assert _random(sampler, update) == _random(always, update)


def test_an_update_knows_nothing_of_those_before():
    """So a resumed run, which starts in the middle of a chain, and each rank draw the same."""
    space = toy.space()
    sampler = Sampler(space, 1, Sampling(**ALL))
    drawn = [sampler.of_update(update) for update in range(20)]
    for update in (17, 3, 14, 5, 0):
        assert Sampler(space, 1, Sampling(**ALL)).of_update(update) == drawn[update] == sampler.of_update(update)
    assert Sampler(space, 2, Sampling(**ALL)).of_update(17)[-1] != drawn[17][-1]
