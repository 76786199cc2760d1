"""Routers that wait: uniform mixes and no learning at first."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetLabelSmoothedCrossEntropy
from fairseq_mos.errors import UserError
from fairseq_mos.models.config import MosTransformerConfig
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy


def _built(router_warmup, from_checkpoint=False, **model):
    task = SupernetTranslation(
        SupernetTranslationConfig(seed=3, router_warmup=router_warmup), toy.dictionary(), toy.dictionary()
    )
    cfg = MosTransformerConfig(search_space_definition=toy.space().to_json(), router_hidden_dim=8, **model)
    cfg._name = "mos_transformer"
    torch.manual_seed(1)
    return task, task.build_model(OmegaConf.create({"model": OmegaConf.structured(cfg)}).model, from_checkpoint)


def _copies(model, routers: bool) -> list[torch.Tensor]:
    return [p.detach().clone() for name, p in model.named_parameters() if ("router" in name) == routers]


@pytest.mark.parametrize("routing", ["global", "layer", "neuron", "low-rank"])
def test_mixes_are_uniform_until_routers_learn(routing):
    task, model = _built(3, routing=routing, num_experts=4)
    criterion = SupernetLabelSmoothedCrossEntropy(task, False, 0.1)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    first, rng = _copies(model, True), random.Random(2)
    for update in range(6):
        others = _copies(model, False)
        for micro in (1, 2):
            task.train_step(toy.batch(seed=micro), model, criterion, optimizer, update)
        adam.step()
        adam.zero_grad()
        assert not all(map(torch.equal, others, _copies(model, False)))
        waiting = update < 3
        assert all(map(torch.equal, first, _copies(model, True))) == waiting
        model.eval()
        mixes = set()
        with torch.no_grad():
            for arch in (model.space.smallest(), model.space.sample(rng)):
                model.activate(arch)
                mixes |= set(model.encoder.layers[0].ffn.fc1.effect().mix.flatten().tolist())
        assert (mixes == {0.25}) == waiting


def test_weights_are_otherwise_those_without():
    (_, waiting), (_, plain), (_, loaded) = _built(3), _built(0), _built(3, from_checkpoint=True)
    assert all(map(torch.equal, _copies(waiting, False), _copies(plain, False)))
    assert not all(map(torch.equal, _copies(waiting, True), _copies(plain, True)))
    assert all(map(torch.equal, _copies(loaded, True), _copies(plain, True)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"routing": "shared"}, "needs routers"),
        ({"expert_init": "copy"}, "needs experts that differ: not --expert-init"),
    ],
)
def test_refused(model, message):
    with pytest.raises(UserError, match=f"^--router-warmup {message}"):
        _built(3, **model)
