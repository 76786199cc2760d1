"""Training with word alignments: fairseq's criterion with our models, against fairseq's own model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)

from fairseq_mos.models.config import MosSubnetConfig
from fairseq_mos.models.mos_subnet import MosSubnet
from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy
from tests.stock import stock_twin


def _aligned_batch() -> dict:
    """A batch with two alignments a sentence: (position in the flat source, position in the flat target)."""
    sample = toy.batch()
    (sentences, source_length), target_length = sample["net_input"]["src_tokens"].shape, sample["target"].shape[1]
    pairs = [(i * source_length + 6 - k, i * target_length + k) for i in range(sentences) for k in (0, 1)]
    align = torch.tensor([(source % source_length, target) for source, target in pairs])
    return {**sample, "alignments": align, "align_weights": torch.full((len(pairs),), 0.5)}


def _criterion():
    task = SimpleNamespace(target_dictionary=toy.dictionary())
    return LabelSmoothedCrossEntropyCriterionWithAlignment(task, False, 0.1, alignment_lambda=0.5)


def _subnet(load_alignments: bool = True) -> MosSubnet:
    supernet = toy.supernet("shared", toy.space("embed", arbitrary_attention=[-1]))
    extracted = supernet.extract()
    task = toy.task()
    task.cfg = SimpleNamespace(load_alignments=load_alignments)
    cfg = MosSubnetConfig(
        architecture_definition=extracted.architecture.to_json(), share_all_embeddings=True, dropout=0.0
    )
    subnet = MosSubnet.build_model(cfg, task)
    subnet.load_state_dict(extracted.state_dict())
    return subnet


def test_loss_and_gradients_are_those_of_the_stock_transformer():
    subnet = _subnet().train()
    stock = stock_twin(subnet).train()
    found, expected = (_criterion()(model, _aligned_batch()) for model in (subnet, stock))
    assert expected[2]["alignment_loss"] > 1
    assert found[2]["alignment_loss"] == pytest.approx(expected[2]["alignment_loss"], rel=1e-5)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-4)
    found[0].backward()
    expected[0].backward()
    theirs = dict(stock.named_parameters())
    compared = 0
    for name, parameter in subnet.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name.replace("ffn.", "")].grad, rtol=1e-4, atol=1e-4)
        compared += 1
    assert compared > 50


def test_attention_costs_nothing_without_alignments():
    subnet = _subnet(load_alignments=False).train()
    inputs = toy.batch()["net_input"]
    assert subnet(**inputs)[1]["attn"] == [None]
    assert subnet(**inputs, alignment_layer=1)[1]["attn"][0].shape == (4, 6, 7)


def test_a_supernet_trains_with_alignments():
    task = SupernetTranslation(
        SupernetTranslationConfig(seed=3, load_alignments=True), toy.dictionary(), toy.dictionary()
    )
    model = toy.supernet("neuron", task_=task)
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    _, _, log = task.train_step(_aligned_batch(), model, _criterion(), optimizer, 0)
    sampled = [architecture for _, architecture in task.architectures(model.space, 0)]
    losses = []
    for architecture in sampled:
        model.activate(architecture)
        losses.append(_criterion()(model, _aligned_batch())[2]["alignment_loss"])
    assert len(set(losses)) == 3
    assert log["alignment_loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
