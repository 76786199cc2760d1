"""--init-from: the largest subnet scores as the encoder that the supernet starts from."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from fairseq.data import Dictionary
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.export import checkpoint, shared_folder
from fairseq_mos.families.masked_lm import stock
from fairseq_mos.families.masked_lm.texts import made_up_dictionary
from fairseq_mos.models.opening import load_bundle, open_model
from fairseq_mos.modules.router_warmup import experts_are_equal
from fairseq_mos.modules.routing import ROUTINGS
from tests import fairseq_commands as commands
from tests import toy
from tests.families.masked_lm import kit
from tests.families.masked_lm.commands import TRAIN, workspace
from tests.families.masked_lm.files import subnet

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert(folder, words, positions: int = kit.POSITIONS, **changes) -> BertForMaskedLM:
    """Writes a random BERT whose vocabulary is `words`, backwards, with something more."""
    vocabulary = [*SPECIAL, *reversed(words), "##more"]
    cfg = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=positions, **{**SIZES, **changes})
    torch.manual_seed(5)
    model = BertForMaskedLM(cfg).eval()
    toy.disturb(model, lambda name: name.endswith("bias") or "Norm" in name or "type" in name)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    return model


def roberta(folder, entries: int = kit.VOCABULARY, **changes) -> RobertaForMaskedLM:
    cfg = RobertaConfig(
        vocab_size=entries, max_position_embeddings=kit.POSITIONS + 2, type_vocab_size=1, layer_norm_eps=1e-5,
        **{**SIZES, **changes},
    )  # fmt: skip
    torch.manual_seed(6)
    model = RobertaForMaskedLM(cfg).eval()
    toy.disturb(model, lambda name: name.endswith("bias") or "norm" in name.lower() or "type" in name)
    model.save_pretrained(folder)
    return model


WORDS = made_up_dictionary(kit.VOCABULARY).symbols[4:-1]


def _columns(dictionary: Dictionary) -> list[int]:
    vocabulary = [*SPECIAL, *reversed(WORDS), "##more"]
    special = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
    return [vocabulary.index(special.get(symbol, symbol)) for symbol in dictionary.symbols]


def _scores(model, tokens) -> torch.Tensor:
    return model(tokens, attention_mask=tokens.ne(1).long()).logits[tokens.ne(1)]


@pytest.mark.parametrize("bottlenecks", [False, True], ids=["homogeneous", "bottlenecks"])
@torch.no_grad()
def test_bert(tmp_path, bottlenecks):
    theirs = bert(tmp_path, WORDS)
    options = {"init_from": str(tmp_path), "init_spread": 0.0, "layer_norm_eps": 1e-12, "disturbed": False}
    model = kit.supernet(kit.space(bottlenecks), **options)
    tokens = kit.tokens()
    columns = torch.tensor(_columns(model.dictionary))
    # Token types other than the first have no part.
    expected = theirs(columns[tokens], attention_mask=tokens.ne(1).long()).logits[tokens.ne(1)][:, columns]
    torch.testing.assert_close(model.eval()(tokens)[0][tokens.ne(1)], expected, rtol=0, atol=1e-5)
    found = model.extract(model.space.largest())(tokens)[0][tokens.ne(1)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("routing", ROUTINGS)
@torch.no_grad()
def test_roberta_of_transformers_with_every_routing(tmp_path, routing):
    theirs, tokens = roberta(tmp_path), kit.tokens()
    options = {"init_from": str(tmp_path), "init_spread": 0.0, "expert_scope": "all", "modulation": "all"}
    # Hard gates use one expert alone, and differences start without effect: no spread, whatever is asked for.
    if routing in ("shared", "split", "disentangled", "low-rank"):
        options["init_spread"] = 0.5
    model = kit.supernet(kit.space(bottlenecks=True), routing=routing, disturbed=False, **options).eval()
    torch.testing.assert_close(model(tokens)[0][tokens.ne(1)], _scores(theirs, tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["stock", "subnet", "shared"])
@torch.no_grad()
def test_what_fairseq_has(tmp_path, form):
    bundle = subnet(tmp_path)
    tokens, path = kit.tokens(), {"stock": "stock.pt", "shared": "shared", "subnet": "subnet/model.pt"}[form]
    if form == "stock":
        stock.write(bundle, tmp_path / path)
    elif form == "shared":
        shared_folder.write(bundle, tmp_path / path)
    else:
        checkpoint.write(bundle, tmp_path / path)
    model = kit.supernet(init_from=str(tmp_path / path), init_spread=0.0, disturbed=False).eval()
    assert (model.cfg.init_from, model.cfg.initialised_from) == (None, str(tmp_path / path))
    real = tokens.ne(1)
    torch.testing.assert_close(model(tokens)[0][real], bundle.model(tokens)[0][real], rtol=0, atol=1e-5)


@torch.no_grad()
def test_experts_scatter_around_the_weight_that_they_start_from(tmp_path):
    theirs = roberta(tmp_path)
    for experts, spread in ((2, 0.1), (3, 0.5)):
        options = {"init_from": str(tmp_path), "init_spread": spread, "num_experts": experts, "disturbed": False}
        state = kit.supernet(**options).state_dict()
        weight = state["encoder.sentence_encoder.layers.1.fc1.weight"]
        source = theirs.roberta.encoder.layer[1].intermediate.dense
        torch.testing.assert_close(weight.mean(0), source.weight)
        deviation = float((weight - source.weight).std() / source.weight.std())
        assert deviation == pytest.approx(spread, rel=0.1)
        assert torch.equal(state["encoder.sentence_encoder.layers.1.fc1.bias"], source.bias.expand(experts, -1))
        again = kit.supernet(**options).state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in state.items())


def test_routers_learn_from_the_first_update_on(tmp_path):
    roberta(tmp_path)
    for spread, learns in ((0.0, False), (0.1, True)):
        model = kit.supernet(init_from=str(tmp_path), init_spread=spread, disturbed=False)
        model(kit.tokens())[0].log_softmax(-1)[..., 3].mean().backward()
        routers = [p.grad for name, p in model.named_parameters() if "router.output.weight" in name]
        assert experts_are_equal(model) != learns
        assert routers and (max(float(grad.abs().max()) for grad in routers) > 1e-6) == learns


@torch.no_grad()
def test_old_names_of_norms_half_precision_and_fewer_positions(tmp_path):
    theirs = bert(tmp_path, WORDS, positions=40)
    file = tmp_path / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor.half()
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    model = kit.supernet(init_from=str(tmp_path), layer_norm_eps=1e-12, routing="shared", disturbed=False)
    positions = model.state_dict()["encoder.sentence_encoder.embed_positions.weight"]
    own = theirs.bert.embeddings
    first = own.position_embeddings.weight[: kit.POSITIONS].half().float() + own.token_type_embeddings.weight[0].half()
    torch.testing.assert_close(positions[2:], first.float(), rtol=0, atol=1e-6)


def _edit(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def _without(folder, name):
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: _edit(f, model_type="gpt2"), "config.json: model_type is 'gpt2', allowed: bert, roberta"),
        (lambda f: roberta(f, intermediate_size=48), "intermediate_size is 48, but this supernet's encoder_ffn"),
        (lambda f: roberta(f, num_hidden_layers=2), "num_hidden_layers is 2, but this supernet's encoder_layers is 3"),
        (lambda f: roberta(f, num_attention_heads=2), "num_attention_heads is 2, but .*encoder_attention_heads is 4"),
        (lambda f: _edit(f, layer_norm_eps=1e-12), "is 1e-12, but this supernet's layer_norm_eps is 1e-05"),
        (lambda f: roberta(f, 60), "vocab_size is 60, but the dictionary has 50 entries with <mask>"),
        (lambda f: _edit(f, hidden_size=40), r"is of shape \(50, 32\), but config.json says \(50, 40\)"),
        (lambda f: _edit(f, hidden_size="a"), "config.json: hidden_size: expected int, got str"),
        (lambda f: _edit(f, hidden_act="silu"), "hidden_act is 'silu', allowed: gelu"),
        (lambda f: _edit(f, position_embedding_type="relative_key"), "type is 'relative_key', allowed"),
        (lambda f: _edit(f, is_decoder=True), "is_decoder is True, allowed: False"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "config.json").unlink(), r"holds neither config.json \(of transformers\) nor arch.json"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing: save the model"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "model.safetensors is damaged"),
        (lambda f: _without(f, "lm_head.dense.bias"), "model.safetensors: lm_head.dense.bias is missing"),
        (lambda f: bert(f, WORDS[:-2], layer_norm_eps=1e-5), "its vocabulary lacks 2 of the dictionary's 50 ent"),
        (lambda f: (bert(f, WORDS), (f / "vocab.txt").unlink()), "vocab.txt is missing, expected BERT's vocabulary"),
        (lambda f: bert(f, WORDS, 12, layer_norm_eps=1e-5), "it has 12 positions, but --max-positions is 20, al"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_bad_input_is_one_line(tmp_path, spoil, message):
    folder = tmp_path / "source"
    roberta(folder)
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        kit.supernet(init_from=str(folder))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_other_models_of_ours_are_refused(tmp_path):
    bottlenecks, whole = kit.space(bottlenecks=True), tmp_path / "supernet.pt"
    bundle = subnet(tmp_path, space=bottlenecks)
    shared_folder.write(bundle, tmp_path / "shared")
    with pytest.raises(UserError, match="shared has bottlenecks around its layers"):
        kit.supernet(init_from=str(tmp_path / "shared"))
    with pytest.raises(UserError, match="supernet.pt is a supernet, allowed: a roberta of fairseq, BERT"):
        kit.supernet(init_from=str(whole))
    narrow = SearchSpace.from_dict({**bottlenecks.to_dict(), "encoder": {**bottlenecks.to_dict()["encoder"],
        "hidden_dims": [20, 12]}})  # fmt: skip
    roberta(tmp_path / "hf")
    with pytest.raises(UserError, match=r"encoder.hidden_dims of the largest architecture are \[20, 20, 20\], allowed"):
        kit.supernet(narrow, init_from=str(tmp_path / "hf"))
    with pytest.raises(UserError, match="--init-spread is -1.0, allowed"):
        kit.supernet(init_spread=-1.0)


def test_training_starts_there_and_its_checkpoint_needs_nothing_else(tmp_path):
    workspace(tmp_path)
    words = [line.rsplit(" ", 1)[0] for line in (tmp_path / "bin" / "dict.txt").read_text().splitlines()]
    bert(tmp_path / "source", [word for word in words if not word.startswith("madeupword")])
    train = [*TRAIN, "--save-dir", "out", "--max-update", "1", "--lr", "0", "--init-from", "source"]
    train += ["--layer-norm-eps", "1e-12", "--init-spread", "0", "--disable-validation"]
    _edit(tmp_path / "source", model_type="gpt2")
    failed = commands.run_steps([train], tmp_path, check=False)
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].endswith("allowed: bert, roberta")
    assert "Traceback" not in failed.stderr
    _edit(tmp_path / "source", model_type="bert")
    commands.run_steps([train], tmp_path)
    weights = load_file(tmp_path / "source" / "model.safetensors")
    shutil.rmtree(tmp_path / "source")
    path, data = tmp_path / "out" / "checkpoint_last.pt", str(tmp_path / "bin")
    found = open_model(path, data)
    assert found.state["cfg"].model.initialised_from == "source" and found.state["cfg"].model.init_from is None
    query = weights["bert.encoder.layer.2.attention.self.query.weight"]
    assert torch.equal(found.model.state_dict()["encoder.sentence_encoder.layers.2.self_attn.q_proj.weight"], query)
    assert load_bundle(path, "largest", data).model.architecture == kit.space().largest()
