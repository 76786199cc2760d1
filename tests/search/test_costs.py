"""Costs of architectures, and their extremes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.search.constraints import Constraint, check_reachable
from fairseq_mos.search.costs import extreme
from tests.arch.samples import mini
from tests.search.synthetic import COSTS, everything


class Bumpy:
    """A predictor whose smallest value is at none of the space's ends."""

    def predict(self, archs):
        return [10 + abs(a.decoder.embed_dim - 8) / 8 + 3 * abs(a.decoder.layers - 2) - a.encoder.layers for a in archs]


@pytest.mark.parametrize(("largest", "choose"), [(False, min), (True, max)])
def test_the_extremes_of_a_cost_that_is_not_monotone(largest, choose):
    space = mini()
    costs = replace(COSTS, predictor=Bumpy())
    assert costs.names[-1] == "latency_ms"
    architecture, value = extreme(space, costs, "latency_ms", largest)
    assert value == choose(costs(arch)["latency_ms"] for arch in everything(space))
    assert costs(architecture)["latency_ms"] == value


def test_an_unreachable_latency_names_the_architecture_that_comes_nearest():
    space = mini()
    with pytest.raises(UserError, match="needs --latency-predictor"):
        check_reachable([Constraint.parse("latency_ms<=1")], space, COSTS)
    costs = replace(COSTS, predictor=Bumpy())
    with pytest.raises(UserError, match="latency_ms<=1 cannot be met: the smallest reachable value is 8 ") as error:
        check_reachable([Constraint.parse("latency_ms<=1")], space, costs)
    inline = str(error.value).split("'mini': ")[1].rstrip(")")
    assert costs(Architecture.load(inline))["latency_ms"] == 8
