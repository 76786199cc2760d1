"""The closed form against actual models and torch's own counter, exactly."""

from __future__ import annotations

import random

import pytest
import torch

from fairseq_mos.arch import SearchSpace
from fairseq_mos.arch.costs import Parameters
from fairseq_mos.arch.shipped import shipped_spaces
from fairseq_mos.cost.measured import count_flops, count_parameters
from fairseq_mos.cost.profiling import profile
from fairseq_mos.cost.subnets import of_space
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.families.translation.costs import flops, parameters
from fairseq_mos.families.translation.texts import made_up_dictionary

VOCABULARY = 100


@pytest.mark.parametrize("name", shipped_spaces())
def test_random_architectures_of_every_shipped_space(name):
    space, rng = SearchSpace.load(name), random.Random(name)
    subnets, family = of_space(space, VOCABULARY, device="meta"), family_of(space)
    translates = family.schema.family == "translation"
    sizing = family.sizing(**{"source_vocabulary" if translates else "vocabulary": VOCABULARY})
    # A space of one width a network has a few hundred at most, and large ones.
    for number in range(200 if translates else 25):
        arch = space.largest() if number == 0 else space.smallest() if number == 1 else space.sample(rng)
        model = subnets.build(arch)
        counts = family.counts(arch, sizing)
        assert count_parameters(model) == Parameters(counts["params"], counts["params_no_embed"])
        assert count_flops(model) == counts["flops"] == family.flops(arch)


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_sharing_lengths_and_the_output_layer(share):
    space = SearchSpace.load("tiny")
    subnets = of_space(space, VOCABULARY, share, "meta")
    for seed in range(5):
        arch = space.sample(random.Random(seed))
        model = subnets.build(arch)
        assert count_parameters(model) == parameters(arch, VOCABULARY, VOCABULARY, share)
        assert count_flops(model, 23, 17) == flops(arch, 23, 17)
        assert count_flops(model, 23, 17, output_layer=True) == flops(arch, 23, 17, VOCABULARY)


def test_on_the_cpu_attention_is_not_missed():
    """The counter knows no formula of the fused CPU kernel: without a remedy, attention would cost nothing."""
    space = SearchSpace.load("tiny")
    arch = space.largest()
    model = of_space(space, VOCABULARY).build(arch)
    assert count_flops(model) == flops(arch)
    assert profile(model) == {
        "params": parameters(arch, VOCABULARY).total,
        "params_no_embed": parameters(arch, VOCABULARY).no_embed,
        "flops": flops(arch),
        "flops_output_layer": 2 * 30 * arch.decoder.embed_dim * VOCABULARY,
    }
    assert next(model.parameters()).device == torch.device("cpu")


def test_vocabularies():
    assert len(made_up_dictionary(50)) == 50
    with pytest.raises(UserError, match="--vocabulary is 4, allowed: 5 or more"):
        made_up_dictionary(4)
