"""What signatures say about a supernet's options."""

from __future__ import annotations

import argparse

from fairseq_mos.models.config import SupernetConfig, method
from tests import toy


def test_what_signatures_name():
    assert method(SupernetConfig()) == {"routing": "neuron", "experts": "2"}
    assert method(SupernetConfig(routing="shared", modulation="norms")) == {
        "routing": "shared",
        "experts": "1",
        "modulation": "norms",
    }
    # A checkpoint of the versions before scopes and modulation, as fairseq keeps it or plain.
    options = {"routing": "layer", "num_experts": 4}
    assert method(options) == method(argparse.Namespace(**options)) == {"routing": "layer", "experts": "4"}
    assert method(SupernetConfig(routing="low-rank", expert_rank=16)) == {
        "routing": "low-rank",
        "experts": "2",
        "expert_rank": "16",
    }
    # With hard gates the space says how many experts there are.
    assert method(toy.supernet("split", expert_scope="all").cfg) == {
        "routing": "split",
        "experts": "3",
        "expert_scope": "all",
        "split_gene": "decoder.layers",
    }
    assert method(toy.supernet("disentangled", expert_scope="attention").cfg)["experts"] == "2"
