"""Counts are of what extraction writes."""

from __future__ import annotations

import random
from functools import partial

import pytest

from fairseq_mos.families.translation.costs import flops
from fairseq_mos.families.translation.family import FAMILY
from fairseq_mos.search.costs import CostModel
from tests import toy


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
    costs = CostModel(partial(FAMILY.counts, sizing=FAMILY.sizing_of(model)))
    rng = random.Random(3)
    for arch in [model.space.largest(), model.space.smallest(), model.space.sample(rng)]:
        subnet = model.extract(arch)
        tables = {subnet.encoder.embed_tokens.weight, subnet.decoder.embed_tokens.weight}
        if subnet.decoder.output_projection is not None:
            tables.add(subnet.decoder.output_projection.weight)
        total = sum(p.numel() for p in subnet.parameters())
        found = costs(arch)
        assert list(found) == ["params", "params_no_embed", "flops"]
        assert found["params"] == total
        assert found["params_no_embed"] == total - sum(table.numel() for table in tables)
        assert found["flops"] == flops(arch, 30, 30)
