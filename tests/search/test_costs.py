"""The cost model counts what extraction writes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.costs import flops
from fairseq_mos.search.constraints import Constraint, check_reachable
from fairseq_mos.search.costs import MONOTONE, CostModel, extreme
from tests import toy
from tests.arch.samples import mini
from tests.search.synthetic import COSTS, everything


@pytest.mark.parametrize(
    "options",
    [
        {"share_all_embeddings": True},
        {"share_all_embeddings": False},
        {"share_all_embeddings": False, "share_decoder_input_output_embed": True},
        {"encoder_normalize_before": True, "layernorm_embedding": True},
        {"decoder_normalize_before": True},
    ],
)
def test_parameters_of_extracted_subnets(options):
    model = toy.supernet(**options)
    costs = CostModel.of_supernet(model)
    rng = random.Random(3)
    for arch in [model.space.largest(), model.space.smallest(), model.space.sample(rng)]:
        subnet = model.extract(arch)
        tables = {subnet.encoder.embed_tokens.weight, subnet.decoder.embed_tokens.weight}
        if subnet.decoder.output_projection is not None:
            tables.add(subnet.decoder.output_projection.weight)
        total = sum(p.numel() for p in subnet.parameters())
        found = costs(arch)
        assert list(found) == list(MONOTONE)
        assert found["params"] == total
        assert found["params_no_embed"] == total - sum(table.numel() for table in tables)
        assert found["flops"] == flops(arch, 30, 30)


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
