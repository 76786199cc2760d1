"""Relations and states of the last layer: against formulas, hooks, and fairseq's own roberta."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.models.roberta import RobertaModel
from torch.nn import functional as F

from fairseq_mos.arch import Architecture
from fairseq_mos.criterions import relations
from fairseq_mos.criterions.teacher import Teacher
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm.texts import made_up_dictionary, task_with
from tests.criterions.kit import KITS
from tests.families.masked_lm import kit as masked_lm

KIT = KITS["masked_lm"]


def _roberta(width=48, heads=3, prenorm=False):
    args = SimpleNamespace(
        encoder_layers=2, encoder_embed_dim=width, encoder_ffn_embed_dim=32, encoder_attention_heads=heads,
        encoder_normalize_before=prenorm, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(4)
    dictionary = made_up_dictionary(masked_lm.VOCABULARY)
    model = RobertaModel.build_model(args, task_with(dictionary, masked_lm.POSITIONS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def _criterion(monkeypatch, teacher, **options):
    monkeypatch.setattr(Teacher, "_load", lambda self: teacher)
    return KIT.criterion(KIT.task(), teacher="x.pt", **options)


def _grads(model, loss):
    model.zero_grad()
    loss.backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([grad.flatten() for grad in grads])


def _replaced(architecture, **sizes):
    data = architecture.to_dict()
    return Architecture.from_dict({**data, "encoder": {**data["encoder"], **sizes}})


def _by_hand(vectors, others, heads, lengths):
    """The mean divergence, sentence by sentence and head by head, without padding."""
    found, tokens = 0.0, 0
    for index, length in enumerate(lengths):
        tokens += length
        for own, other in zip(vectors, others):
            for a, b in zip(own[:length, index].chunk(heads, -1), other[:length, index].chunk(heads, -1)):
                p, q = ((x @ x.T / x.shape[-1] ** 0.5).softmax(-1) for x in (b, a))
                found = found + (p * (p / q).log()).sum()
    return found / (3 * heads * tokens)


def test_relations_are_the_formula():
    rng = torch.Generator().manual_seed(1)
    own, others = ([torch.randn(6, 2, width, generator=rng) for _ in range(3)] for width in (8, 12))
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    student, teacher = (relations.relations(x, 4, real, "its") for x in (own, others))
    assert student.shape == (3, 2, 4, 6, 6) and student.exp()[:, 1, :, :, 4:].max() == 0
    torch.testing.assert_close(student.exp().sum(-1), torch.ones(3, 2, 4, 6))
    found = relations.relation_loss(student, teacher, real)
    torch.testing.assert_close(found, _by_hand(own, others, 4, (6, 4)), rtol=1e-5, atol=1e-6)
    state = [x[..., :8] for x in (own[0], others[0])]
    both = torch.cat([state[0][:, 0], state[0][:4, 1]]) - torch.cat([state[1][:, 0], state[1][:4, 1]])
    torch.testing.assert_close(relations.hidden_loss(*state, real), both.square().mean())


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("bottlenecks", [False, True])
def test_projections_are_those_that_attention_uses(prenorm, bottlenecks):
    space = masked_lm.space(bottlenecks)
    options = {"routing": "layer", "expert_scope": "all", "router_dropout": 0.5, "encoder_normalize_before": prenorm}
    model = KIT.supernet(space_=space, **options)
    for network in (model.extract(space.largest()), model.extract(space.smallest()), model):
        encoder, seen = network.train().encoder.sentence_encoder, []
        attention = getattr(encoder, "active", encoder.layers)[-1].self_attn
        leaves = (attention.q_proj, attention.k_proj, attention.v_proj)
        hooks = [leaf.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out)) for leaf in leaves]
        states = network(masked_lm.tokens(), return_all_hiddens=True)[1]["inner_states"]
        for hook in hooks:
            hook.remove()
        found = relations.projections(encoder, states)
        assert len(seen) == 3 and all(map(torch.equal, found, seen))


@pytest.mark.parametrize("prenorm", [False, True])
def test_fairseqs_roberta_is_read_alike(prenorm):
    model, tokens = _roberta(prenorm=prenorm), masked_lm.tokens()[:1]
    states = model(tokens, return_all_hiddens=True)[1]["inner_states"]
    encoder = model.encoder.sentence_encoder
    q, k, v = relations.projections(encoder, states)
    layer = encoder.layers[-1]
    # What attention makes of them is what it puts out.
    q, k, v = (x.unflatten(2, (3, -1)).permute(1, 2, 0, 3) for x in (q, k, v))
    out = layer.self_attn.out_proj(F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2))
    x = layer.self_attn_layer_norm(states[-2]) if prenorm else states[-2]
    torch.testing.assert_close(layer.self_attn(x, x, x)[0], out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_the_loss_is_the_sum_of_its_parts(monkeypatch, weight):
    model, sample, teacher = KIT.supernet().train(), KIT.batch(), _roberta(width=32, heads=4)
    model.activate(_replaced(model.space.largest(), layers=2, ffn_ratio=1.5))
    options = {"distillation_weight": weight, "relation_weight": 3.0, "relation_heads": 8, "hidden_weight": 0.5}
    monkeypatch.setattr(relations, "check_space", lambda *_: None)
    loss, size, log = _criterion(monkeypatch, teacher, **options)(model, sample)
    before, _, plain = _criterion(monkeypatch, teacher, distillation_weight=weight or 0.5)(model, sample)
    assert log["nll_loss"] == plain["nll_loss"]
    assert ("distillation_loss" in log) == bool(weight)
    if not weight:
        before = KIT.stock(KIT.task())(model, sample)[0]
    tokens = sample["net_input"]["src_tokens"]
    lengths = tokens.ne(1).sum(1).tolist()
    vectors, lasts = [], []
    for network in (model, teacher):
        states = network(tokens, return_all_hiddens=True)[1]["inner_states"]
        vectors.append(relations.projections(network.encoder.sentence_encoder, states))
        lasts.append(states[-1].transpose(0, 1)[tokens.ne(1)])
    related, apart = _by_hand(*vectors, 8, lengths), (lasts[0] - lasts[1]).square().mean()
    expected = before + size * (3.0 * related + 0.5 * apart)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(_grads(model, loss), _grads(model, expected), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(log["relation_loss"], (size * related).data, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(log["hidden_loss"], (size * apart).data, rtol=1e-4, atol=1e-5)


def test_a_copy_of_the_student_relates_alike(monkeypatch):
    model, sample = KIT.supernet(space_=masked_lm.space(True)).train(), KIT.batch()
    teacher = model.extract()
    model.train()
    options = {"distillation_weight": 0.0, "relation_weight": 1.0, "relation_heads": 4, "hidden_weight": 1.0}
    loss, _, log = _criterion(monkeypatch, teacher, **options)(model, sample)
    assert abs(float(log["relation_loss"])) < 1e-5 and float(log["hidden_loss"]) < 1e-9
    labels = _grads(model, KIT.stock(KIT.task())(model, sample)[0])
    torch.testing.assert_close(_grads(model, loss), labels, rtol=1e-4, atol=1e-5)


def test_an_update_of_a_supernet_asks_once(monkeypatch):
    model, task, passes = KIT.supernet(space_=masked_lm.space(True)), KIT.task(), []
    teacher = _roberta(width=32, heads=4)
    teacher.register_forward_hook(lambda *_: passes.append(1))
    monkeypatch.setattr(Teacher, "_load", lambda self: teacher)
    options = {"relation_weight": 1.0, "relation_heads": 4, "hidden_weight": 1.0}
    log, grads = KIT.update(model, KIT.criterion(task, teacher="x.pt", **options), task)
    assert len(passes) == 1 and float(log["relation_loss"]) > 0 and float(log["hidden_loss"]) > 0
    assert all(grad is not None for grad in grads)


@pytest.mark.parametrize(
    ("teacher", "bottlenecks", "options", "message"),
    [
        ({}, False, {"relation_weight": 1.0, "relation_heads": 7}, "7 do not divide the width of --teacher's quer"),
        ({}, False, {"relation_weight": 1.0, "relation_heads": 16}, "16 do not divide the width of the search space"),
        ({}, True, {"relation_weight": 1.0}, "12 do not divide the width of the search space toy_bert's queries, 32"),
        ({}, False, {"hidden_weight": 1.0}, "states of one width: the student has 32, --teacher 48"),
        ({"width": 32, "heads": 4}, False, {"hidden_weight": 1.0}, "the student has 24, --teacher 32"),
    ],
)
def test_widths_that_do_not_fit(monkeypatch, teacher, bottlenecks, options, message):
    model = KIT.supernet(space_=masked_lm.space(bottlenecks)).train()
    with pytest.raises(UserError) as caught:
        _criterion(monkeypatch, _roberta(**teacher), **options)(model, KIT.batch())
    assert message in str(caught.value)
    dense = model.extract(model.space.largest()).train()
    if "search space" in message or "24" in message:
        return
    with pytest.raises(UserError):
        _criterion(monkeypatch, _roberta(**teacher), **options)(dense, KIT.batch())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation_weight": 1.0}, "--relation-weight needs --teacher"),
        ({"relation_heads": 4}, "--relation-heads needs --teacher"),
        ({"hidden_weight": 1.0}, "--hidden-weight needs --teacher"),
        ({"teacher": "x.pt", "relation_weight": -1.0}, "--relation-weight is -1.0, allowed: 0 to"),
        ({"teacher": "x.pt", "relation_heads": 0}, "--relation-heads is 0, allowed: 1 to 1,024"),
        ({"teacher": "x.pt", "hidden_weight": float("inf")}, "--hidden-weight is"),
    ],
)
def test_options_that_mean_nothing(options, message):
    with pytest.raises(UserError) as caught:
        KIT.criterion(KIT.task(), **options)
    assert message in str(caught.value)
