"""Another routing is a class and a row of the table; the network does not change."""

from __future__ import annotations

import torch

from fairseq_mos.modules.routing import ROUTINGS, Routing
from tests import toy


class _Average(Routing):
    """All experts count alike, whatever the architecture."""

    def add(self, name: str, rows: int, gate=None) -> None:
        self.even = torch.full((self.num_experts,), 1 / self.num_experts)

    def mix(self, name: str, rows: int) -> torch.Tensor:
        return self.even


@torch.no_grad()
def test_a_routing_of_one_s_own(monkeypatch):
    monkeypatch.setitem(ROUTINGS, "average", _Average)
    model = toy.supernet("average", num_experts=3)
    subnet = model.extract(model.space.largest())
    ours, theirs = (network.encoder.layers[1].ffn.fc1 for network in (model, subnet))
    torch.testing.assert_close(theirs.weight, ours.weight.mean(0), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(theirs.bias, ours.bias.mean(0), rtol=1e-6, atol=1e-7)
    sample = toy.batch()["net_input"]
    assert torch.equal(model(**sample)[0], subnet(**sample)[0])
