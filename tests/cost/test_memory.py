"""Peak memory: the estimate beside torch's own allocations, and what both must contain."""

from __future__ import annotations

import pytest
import torch

import fairseq_mos
from fairseq_mos.arch import SearchSpace
from fairseq_mos.cost import subnets
from fairseq_mos.cost.measured import count_parameters
from fairseq_mos.cost.memory import MemorySettings, estimate, measure
from fairseq_mos.errors import UserError

SHORT = MemorySettings(source_tokens=6, target_tokens=8, beam=2, max_tokens=64)


@pytest.fixture(scope="module", params=["largest", "smallest"])
def model(request):
    fairseq_mos.register()
    source = subnets.of_space(SearchSpace.load("tiny"), 300)
    return source.build(getattr(source.space, request.param)())


def test_the_estimate_is_close_and_not_too_low(model):
    estimated, measured = estimate(model, SHORT), measure(model, SHORT)
    assert 1 <= estimated.training / measured.training < 1.15
    assert 1 <= estimated.decoding / measured.decoding < 1.15


def test_training_holds_weights_gradients_and_two_moments(model):
    # One short sentence: activations are nothing beside them.
    one = MemorySettings(source_tokens=2, target_tokens=2, beam=1, max_tokens=2)
    weights = 4 * count_parameters(model).total
    for memory in (estimate(model, one), measure(model, one)):
        assert memory.training >= 4 * weights
        assert weights <= memory.decoding < 1.5 * weights


def test_activations_grow_with_the_batch(model):
    double = MemorySettings(source_tokens=6, target_tokens=8, beam=2, max_tokens=128)
    quadruple = MemorySettings(source_tokens=6, target_tokens=8, beam=2, max_tokens=256)
    half, full = (estimate(model, settings).training for settings in (double, quadruple))
    assert half < full < 2 * half


def test_the_model_is_left_as_it_is(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    estimate(model, SHORT)
    measure(model, SHORT)
    assert not model.training and next(model.parameters()).device.type == "cpu"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_batch_too_small_for_a_sentence_is_refused():
    with pytest.raises(UserError, match="--max-tokens is 29, allowed: 30 or more"):
        MemorySettings(max_tokens=29)
