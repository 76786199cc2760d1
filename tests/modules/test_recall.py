"""What is kept, for how long, and within which limit; and that sharing changes no result."""

from __future__ import annotations

import random
from functools import partial

import pytest
import torch
from torch import nn

from fairseq_mos.modules.recall import LAYER, Recall
from tests import toy
from tests.families.masked_lm import kit

SIZE = 400
"""Bytes of an output here."""


def output(key: str, batch: int) -> torch.Tensor:
    return torch.full((SIZE // 4,), 1000.0 * batch + sum(map(ord, key)))


class Network:
    """Two layers whose outputs depend on two letters: the first one's on the first, the second one's on both."""

    def __init__(self):
        self.layers = [nn.Identity(), nn.Identity()]
        self.made: list[str] = []

    def steps(self, name: str):
        return [(layer, LAYER, name[: index + 1]) for index, layer in enumerate(self.layers)]

    def run(self, recall: Recall, name: str, batches: int = 1, place: int | None = None) -> None:
        with recall.during(self.steps(name), place):
            for batch in range(batches):
                recall.at(batch)
                for index, layer in enumerate(self.layers):
                    key = name[: index + 1]

                    def make(key=key, batch=batch):
                        self.made.append(key)
                        return output(key, batch)

                    assert torch.equal(layer.recall(layer, LAYER, make), output(key, batch))


def run(names: list[str], limit: int = 1 << 20, batches: int = 1) -> tuple[list[str], Recall]:
    network, recall = Network(), Recall(limit)
    recall.expect(map(network.steps, names))
    for place, name in enumerate(names):
        network.run(recall, name, batches, place)
        assert recall.held <= limit
    return network.made, recall


def test_what_is_alike_is_computed_once_and_forgotten_after_its_last_use():
    made, recall = run(["ab", "cd", "ae", "cd"])
    assert made == ["a", "ab", "c", "cd", "ae"]
    assert (recall.computed, recall.recalled, recall.held) == (5, 3, 0)


def test_batches_are_kept_apart():
    assert run(["ab", "ac"], batches=3)[0] == ["a", "ab"] * 3 + ["ac"] * 3


def test_without_room_everything_is_computed_and_with_little_what_is_needed_soonest_stays():
    assert run(["ab", "ac"], limit=SIZE - 1)[0] == ["a", "ab", "a", "ac"]
    # For one output at a time: "a" gives way to "c", which comes again before it.
    assert run(["ab", "cd", "ce", "af"], limit=SIZE)[0] == ["a", "ab", "c", "cd", "ce", "a", "af"]
    assert run(["ab", "cd", "ae", "cf"], limit=SIZE)[0] == ["a", "ab", "c", "cd", "ae", "c", "cf"]


def test_of_what_nobody_announced_nothing_is_kept_but_what_is_there_is_used():
    network, recall = Network(), Recall(1 << 20)
    network.run(recall, "ab")
    network.run(recall, "ab")
    assert network.made == ["a", "ab"] * 2 and recall.held == 0
    recall.expect(map(network.steps, ["ab", "ac"]))
    network.run(recall, "ab", place=0)
    network.run(recall, "ad")
    network.run(recall, "ac", place=1)
    assert network.made == ["a", "ab"] * 3 + ["ad", "ac"]
    assert all(layer.recall is None for layer in network.layers)


def test_what_ends_early_leaves_the_rest_to_be_computed():
    network, recall = Network(), Recall(1 << 20)
    recall.expect(map(network.steps, ["ab", "ac"]))
    network.run(recall, "ab", batches=1, place=0)
    network.run(recall, "ac", batches=2, place=1)
    assert network.made == ["a", "ab", "ac", "a", "ac"]


MODELS = {
    **{name: partial(toy.supernet, name) for name in ("shared", "layer", "neuron", "split")},
    "disentangled, all": partial(toy.supernet, "disentangled", expert_scope="all"),
    "neuron, attention": partial(toy.supernet, "neuron", expert_scope="attention"),
    "modulation": partial(toy.supernet, "shared", modulation="norms"),
    "pre-norm": partial(toy.supernet, "shared", encoder_normalize_before=True, decoder_normalize_before=True),
    "bert": partial(kit.supernet, routing="shared"),
    "bert, neuron": partial(kit.supernet, routing="neuron"),
    "bert, bottlenecks": partial(kit.supernet, kit.space(True), routing="shared"),
}

def family(model, count: int = 12) -> list:
    """Architectures that differ from each other in one or two genes."""
    space, rng = model.space, random.Random(1)
    genes = [list(space.to_genes(space.largest()))]
    while len(genes) < count:
        child = list(rng.choice(genes))
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(child))
            child[place] = rng.choice(space.genes[place].choices)
        genes.append(child)
    return list(dict.fromkeys(map(space.from_genes, genes)))


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_supernet_with_shared_outputs_equals_itself_bit_for_bit(name):
    model = MODELS[name]().eval()
    bert = name.startswith("bert")
    inputs = [toy.batch(seed=seed)["net_input"] for seed in range(2)]
    if bert:
        inputs = [{"src_tokens": batch["src_tokens"].flip(1)} for batch in inputs]
    archs = family(model)

    def logits(batch):
        return model(**batch)[0]

    expected = []
    for arch in archs:
        model.activate(arch)
        expected.append([logits(batch) for batch in inputs])

    def steps(arch):
        model.activate(arch)
        return list(model.steps())

    for limit in (1 << 30, 3000, 0):
        recall = Recall(limit)
        recall.expect(map(steps, archs))
        for place, arch in enumerate(archs):
            model.activate(arch)
            with recall.during(model.steps(), place):
                for number, batch in enumerate(inputs):
                    recall.at(number)
                    assert torch.equal(logits(batch), expected[place][number])
            assert recall.held <= limit
        if limit == 1 << 30:
            # Where the first sublayer is mixed or modulated, too: some architectures have one mean encoding.
            assert recall.held == 0 and recall.recalled > 0
        elif limit == 0:
            assert recall.recalled == 0


@torch.no_grad()
def test_a_layer_that_returns_its_attention_is_another_computation():
    """The last decoder layer's, by another kernel: here the same layer is last in one architecture alone."""
    model = toy.supernet("shared").eval()
    genes = dict(zip((gene.name for gene in model.space.genes), model.space.to_genes(model.space.largest())))
    archs = [model.space.from_genes(list({**genes, "decoder.layers": layers}.values())) for layers in (3, 2, 1)]
    for alignment_layer in (None, -1):
        recall, found = Recall(1 << 30), []
        for shared in (False, True):
            if shared:
                recall.expect(model.activate(arch) or list(model.steps()) for arch in archs)
            for place, arch in enumerate(archs):
                model.activate(arch)
                with recall.during(model.steps(), place if shared else None):
                    logits, extra = model(**toy.batch()["net_input"], alignment_layer=alignment_layer)
                found.append((logits, extra["attn"][0]))
        for (logits, attention), (other, other_attention) in zip(found[:3], found[3:]):
            assert torch.equal(logits, other)
            assert attention is other_attention is None or torch.equal(attention, other_attention)
        # The encoder's three layers twice. Of the decoder two layers and one, or one and what precedes the attention.
        assert recall.recalled == 2 * 3 + (2 + 1 if alignment_layer == -1 else 1 + 1)


@torch.no_grad()
def test_every_gene_that_changes_an_output_changes_what_it_depends_on():
    """The other way round: where steps are alike, so are outputs, gene by gene."""
    model = toy.supernet("shared").eval()
    space, batch = model.space, toy.batch()["net_input"]

    def outputs(genes):
        model.activate(space.from_genes(genes))
        found = {}
        encoder = model.encoder(batch["src_tokens"], return_all_hiddens=True)
        decoder = model.decoder(batch["prev_output_tokens"], encoder, alignment_layer=-1)[1]
        states = [*encoder["encoder_states"][1:], *decoder["inner_states"][1:]]
        keys = [key for _, part, key in model.steps() if part == LAYER]
        assert len(keys) == len(states)
        found.update(zip(keys, states))
        return found

    largest = space.to_genes(space.largest())
    before = outputs(largest)
    for place, gene in enumerate(space.genes):
        after = outputs([*largest[:place], gene.choices[-1], *largest[place + 1 :]])
        for key in before.keys() & after.keys():
            assert torch.equal(before[key], after[key]), gene.name
        if gene.name.startswith("encoder.ffn_dims[2]"):
            assert len(before.keys() & after.keys()) == 2  # the encoder's first two layers
        if gene.name.startswith("decoder.ffn_dims[2]"):
            assert len(before.keys() & after.keys()) == 5
