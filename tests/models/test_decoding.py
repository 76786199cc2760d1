"""Decoding step by step: whatever happens to the beams, as a pass over whole sentences and as stock fairseq."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq import search
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from torch import nn

from fairseq_mos.modules.kept import Elastic, unchanged
from tests import toy
from tests.stock import stock_twin


def subnet(attention: int = -1, **options):
    return toy.supernet("neuron", toy.space("embed", arbitrary_attention=[attention]), **options).extract()


def source(sentences: int = 3) -> torch.Tensor:
    return toy.batch(sentences=sentences)["net_input"]["src_tokens"]


ORDERS = {
    "beams move": [[1, 1, 2, 3, 5, 4]] * 5,
    "beams stay": [[0, 1, 2, 3, 4, 5]] * 5,
    "sentences leave": [[1, 0, 2, 2, 5, 4], [0, 1, 5, 4], [2, 2], [0, 1], [1, 0]],
    "the last sentences leave": [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [1, 0], [0, 0]],
    "sentences swap": [[2, 3, 5, 4, 0, 0], [5, 4, 0, 1, 3, 3], [0, 1, 2, 3, 4, 5]],
    "a sentence is there twice": [[0, 1, 1, 0, 5, 4], [1, 1, 3, 2, 5, 4], [0, 0, 4, 5]],
    "beams of sentences mix": [[1, 1, 2, 3, 5, 4], [4, 0, 1, 3, 2, 5], [1, 2, 0, 0, 5, 4], [3, 1]],
    "more beams": [[1, 1, 2, 3, 5, 4], [0, 0, 1, 2, 3, 3, 4, 5, 5], [2, 1, 0, 3, 4, 4, 6, 6, 7], [8, 0]],
    "one beam each": [[1, 2, 5], [2, 1, 0], [0, 0, 1, 1], [1, 1, 3, 2]],
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("attention", [-1, 2])
@pytest.mark.parametrize("orders", ORDERS.values(), ids=ORDERS)
def test_steps_equal_a_whole_pass(orders, attention, grad):
    model, rng = subnet(attention), torch.Generator().manual_seed(3)
    with torch.set_grad_enabled(grad):
        encoder_out = model.encoder.reorder_encoder_out(model.encoder(source()), torch.tensor([0, 0, 1, 1, 2, 2]))
        # The same without anything that is clever about orders.
        plain = {name: list(tensors) for name, tensors in encoder_out.items()}
        tokens, state = torch.full((6, 1), 2), {}
        for order in map(torch.tensor, [*orders, [0]]):
            step, extra = model.decoder(tokens, encoder_out, incremental_state=state)
            whole, expected = model.decoder(tokens, plain)
            torch.testing.assert_close(step[:, -1], whole[:, -1], atol=1e-5, rtol=0)
            torch.testing.assert_close(extra["attn"][0][:, -1], expected["attn"][0][:, -1], atol=1e-5, rtol=0)
            drawn = torch.randint(4, toy.VOCABULARY, (len(tokens), 1), generator=rng)
            tokens = torch.cat([tokens, drawn], dim=1)[order]
            model.decoder.reorder_incremental_state_scripting(state, order)
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
            plain = {
                name: [t.index_select(1 if name == "encoder_out" else 0, order) for t in tensors]
                for name, tensors in plain.items()
            }


@torch.no_grad()
def test_nothing_is_copied_when_beams_move():
    model, state = subnet(), {}
    encoder_out = model.encoder.reorder_encoder_out(model.encoder(source()), torch.arange(3).repeat_interleave(4))
    model.decoder(torch.full((12, 1), 2), encoder_out, incremental_state=state)
    layer = model.decoder.layers[0]

    def places() -> list[int]:
        return [t.data_ptr() for part in (layer.self_attn, layer.encoder_attn) for t in part.cached(state)]

    before = places()
    assert layer.encoder_attn.cached(state)[0].shape[0] == 3, "keys of a sentence are there once"
    order = torch.tensor([3, 0, 1, 1, 4, 4, 4, 4, 9, 8, 11, 10])
    model.decoder.reorder_incremental_state_scripting(state, order)
    model.decoder(torch.full((12, 2), 2), encoder_out, incremental_state=state)
    assert places() == before


SEARCHES = {
    "beam": {"beam_size": 4},
    "wide": {"beam_size": 5, "len_penalty": 0.6},
    "greedy": {"beam_size": 1},
    "short": {"beam_size": 4, "max_len_b": 2},
    "diverse": {"beam_size": 4, "search_strategy": lambda d: search.DiverseBeamSearch(d, 2, 0.5)},
    "siblings": {"beam_size": 3, "search_strategy": lambda d: search.DiverseSiblingsSearch(d, 0.5)},
    "sampling": {"beam_size": 3, "search_strategy": lambda d: search.Sampling(d, sampling_topk=5)},
    "prefix": {"beam_size": 4, "prefix": True},
    "temperature": {"beam_size": 4, "temperature": 2.0},
}


def hypotheses(models, prefix: bool = False, search_strategy=None, fast: bool = False, **options) -> list[list[dict]]:
    dictionary = toy.dictionary()
    strategy = None if search_strategy is None else search_strategy(dictionary)
    options = {"max_len_b": 12, **options, "search_strategy": strategy}
    if fast:
        for model in models:
            model.prepare_for_inference_(SimpleNamespace(generation=SimpleNamespace()))
    generator, sample = SequenceGenerator(models, dictionary, **options), toy.batch(sentences=5)
    torch.manual_seed(1)
    return generator.generate(models, sample, prefix_tokens=sample["target"][:, :2] if prefix else None)


def assert_same(ours: list[list[dict]], theirs: list[list[dict]]) -> None:
    assert [len(beams) for beams in ours] == [len(beams) for beams in theirs]
    for one, other in zip(sum(ours, []), sum(theirs, [])):
        assert one["tokens"].tolist() == other["tokens"].tolist()
        torch.testing.assert_close(one["positional_scores"], other["positional_scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES)
def test_searches_as_stock_fairseq(options, fast):
    model = subnet()
    found, expected = hypotheses([model], fast=fast, **options), hypotheses([stock_twin(model)], **options)
    assert_same(found, expected)
    for one, other in zip(sum(found, []), sum(expected, [])):
        if fast:
            assert one["attention"].numel() == 0
        else:
            torch.testing.assert_close(one["attention"], other["attention"], atol=1e-5, rtol=0)


def test_an_ensemble_as_stock_fairseq():
    models = [subnet(), subnet(disturbed=False)]
    assert_same(hypotheses(models, beam_size=4), hypotheses([stock_twin(model) for model in models], beam_size=4))


@pytest.mark.parametrize("print_alignment", ["hard", "soft"])
def test_words_are_aligned_whether_or_not_decoding_gives_attention(print_alignment):
    found = []
    for fast in (False, True):
        model, dictionary, sample = subnet(), toy.dictionary(), toy.batch(sentences=5)
        if fast:
            model.prepare_for_inference_(SimpleNamespace(generation=SimpleNamespace(print_alignment=None)))
        assert model.full_context_alignment is fast
        generator = SequenceGeneratorWithAlignment(
            [model], dictionary, print_alignment=print_alignment, beam_size=3, max_len_b=8
        )
        found.append(sum(generator.generate([model], sample), []))
    for slow, quick in zip(*found):
        assert slow["tokens"].tolist() == quick["tokens"].tolist()
        if print_alignment == "hard":
            assert slow["alignment"] == quick["alignment"]
        else:
            # fairseq's soft alignments are numbers as texts.
            slow, quick = ([[float(x) for x in row] for row in h["alignment"]] for h in (slow, quick))
            torch.testing.assert_close(torch.tensor(slow), torch.tensor(quick), atol=1e-3, rtol=0)


def test_printing_alignments_keeps_attention():
    model = subnet()
    model.prepare_for_inference_(SimpleNamespace(generation=SimpleNamespace(print_alignment="hard")))
    assert model.decoder.attention_in_decoding and not model.full_context_alignment


@torch.no_grad()
def test_only_the_scores_of_a_step_are_overwritten():
    model, sample = subnet(), toy.batch()["net_input"]
    whole = model(**sample)
    before = whole[0].clone()
    expected = torch.log_softmax(before, dim=-1)
    assert torch.equal(model.get_normalized_probs(whole, log_probs=True), expected)
    assert torch.equal(whole[0], before)
    step = model.decoder(torch.full((4, 1), 2), model.encoder(sample["src_tokens"]), incremental_state={})
    expected = torch.log_softmax(step[0], dim=-1)
    assert torch.equal(model.get_normalized_probs(step, log_probs=False), expected.exp()) or torch.allclose(
        model.get_normalized_probs(step, log_probs=False), expected.exp()
    )
    found = model.get_normalized_probs(step, log_probs=True)
    assert torch.equal(found, expected) and found.data_ptr() == step[0].data_ptr()


class Counting(nn.Module):
    """What somebody may put into a decoder."""

    def __init__(self):
        super().__init__()
        self.orders: list[list[int]] = []

    def reorder_incremental_state(self, incremental_state, new_order):
        self.orders.append(new_order.tolist())


@torch.no_grad()
def test_other_modules_are_told_of_orders():
    model, state, order = subnet(), {}, torch.tensor([1, 0, 2])
    model.decoder.layers[1].extra = counting = Counting()
    model.decoder(torch.full((3, 1), 2), model.encoder(source()), incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, order)
    assert counting.orders == [[1, 0, 2]]


@torch.no_grad()
def test_a_decoding_goes_on_with_the_parameters_that_it_began_with():
    model = toy.supernet("neuron").eval()
    leaf = model.decoder.layers[0].ffn.fc1
    before, _ = leaf.active()
    leaf.weight.mul_(2.0)
    with unchanged():
        assert leaf.active()[0] is before
        model.activate(model.space.smallest())
        assert leaf.active()[0].shape != before.shape
    model.activate(model.space.largest())
    torch.testing.assert_close(leaf.active()[0], 2 * before)
    with unchanged(), torch.enable_grad():
        assert leaf.active()[0].requires_grad and leaf.active()[0].grad_fn is not None


@torch.no_grad()
def test_a_new_decoding_sees_new_weights():
    model = toy.supernet("neuron").eval()
    tokens, encoder_out = torch.full((3, 2), 2), model.encoder(source())

    def scores() -> torch.Tensor:
        state: dict = {}
        model.decoder(tokens[:, :1], encoder_out, incremental_state=state)
        return model.decoder(tokens, encoder_out, incremental_state=state)[0]

    before = scores()
    assert any(module._kept for module in model.decoder.modules() if isinstance(module, Elastic))
    for name in ("self_attn.k_proj", "ffn.fc1", "encoder_attn.out_proj"):
        model.decoder.layers[1].get_submodule(name).weight.mul_(1.5)
    after = scores()
    assert not torch.equal(before, after)
    torch.testing.assert_close(after[:, -1], model.decoder(tokens, encoder_out)[0][:, -1], atol=1e-5, rtol=0)
