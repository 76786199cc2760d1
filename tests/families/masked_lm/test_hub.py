"""torch.hub's masked language model: filling masks, features, and one line for what is no input."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos import hub as translation
from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.export import shared_folder
from fairseq_mos.families.masked_lm import hub, programs, stock
from fairseq_mos.models.opening import load_bundle
from tests.fairseq_commands import ROOT
from tests.families.masked_lm import kit
from tests.families.masked_lm.files import write_supernet
from tests.small import small_supernet


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_supernet(tmp_path_factory.mktemp("hub"), pieces=True)


@pytest.fixture(scope="module")
def model(path):
    return torch.hub.load(
        str(ROOT), "mos_roberta", source="local", checkpoint=path, architecture="random:1", trust_repo=True
    )


@torch.no_grad()
def test_masks_are_filled_by_probability(model):
    text = "ein Hund <mask> im Garten"
    found = model.fill_mask(text, topk=7)
    tokens = model.encode(text)
    mask, dictionary = len(model.dictionary) - 1, model.dictionary
    at = tokens.tolist().index(mask)
    probabilities = model.model(tokens[None])[0][0, at].softmax(-1)
    ranked = [i for i in probabilities.argsort(descending=True).tolist() if i not in (0, 1, 2, mask)][:7]
    for (filled, probability, token), number in zip(found, ranked, strict=True):
        assert probability == pytest.approx(float(probabilities[number]))
        assert token == dictionary[number].replace("\u2581", " ").strip()
        expected = tokens.clone()
        expected[at] = number
        assert filled == model.decode(expected) and filled.startswith("ein Hund") and filled.endswith("im Garten")
    assert model.fill_mask([text, "<mask>"], topk=1)[0] == found[:1]
    # All that may stand there, and no more.
    assert len(model.fill_mask(text, topk=len(dictionary) - 4)) == len(dictionary) - 4


@torch.no_grad()
def test_features(model):
    one, two = "ein Hund", "zwei Kinder spielen im Garten"
    many = model.extract_features([one, two])
    for row, text in enumerate((one, two)):
        tokens = model.encode(text)
        alone = model.extract_features(text)
        assert torch.equal(alone, model.extract_features(tokens))
        assert torch.equal(alone, model.model(tokens[None], features_only=True)[0])
        torch.testing.assert_close(many[row, : len(tokens)], alone[0], rtol=0, atol=1e-5)
    states = model.extract_features(two, return_all_hiddens=True)
    assert len(states) == model.model.architecture.encoder.layers + 1
    assert torch.equal(states[-1], model.extract_features(two))


def test_tokens_and_back(model):
    assert model.decode(model.encode("ein Hund")) == "ein Hund"
    pair = model.encode("ein Hund", "zwei Kinder")
    assert pair.tolist().count(2) == 3 and pair[0] == 0
    assert model.decode(pair) == ["ein Hund", "zwei Kinder"]
    assert model.encode("<mask>").tolist() == [0, len(model.dictionary) - 1, 2]


def test_whatever_it_comes_in(path, tmp_path):
    bundle = load_bundle(path, "largest")
    text = "der <mask> Mann"
    expected = hub.of_bundle(bundle).fill_mask(text)
    shared_folder.write(bundle, tmp_path / "shared")
    stock.write(bundle, tmp_path / "stock" / "model.pt")
    programs.write(bundle, tmp_path / "programs")
    routes = [("shared", {}), ("stock/model.pt", {}), ("programs", {}), ("programs", {"trust": True})]
    for name, options in routes:
        found = hub.load(tmp_path / name, **options)
        for one, two in zip(found.fill_mask(text), expected, strict=True):
            assert one == (two.text, pytest.approx(two.probability, abs=1e-6), two.token)
    with pytest.raises(UserError, match="return_all_hiddens needs every layer's output"):
        found.extract_features(text, return_all_hiddens=True)


def test_segmented_text(tmp_path):
    path = write_supernet(tmp_path)
    with pytest.raises(UserError, match="there is no subword model beside supernet.*bpe='none' in Python"):
        hub.load(path, "smallest")
    model = hub.load(path, "smallest", bpe="none")
    assert model.decode(model.encode("word1 word3")) == "word1 word3"
    assert model.encode("word1 other").tolist()[-2] == model.dictionary.unk()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fill_mask("no mask"), "the text has 0 times <mask>, expected once: 'no mask'"),
        (lambda m: m.fill_mask("<mask> <mask>"), "the text has 2 times <mask>, expected once"),
        (lambda m: m.fill_mask(3), "the text is 3, expected a text or a list of texts"),
        (lambda m: m.fill_mask([None]), "text 1 is None, expected a text"),
        (lambda m: m.fill_mask("<mask>\ud800"), "the text is no valid Unicode text"),
        (lambda m: m.fill_mask("<mask>" + " Hund" * 30), r"the input has \d+ tokens, allowed: 20 \(the model's posit"),
        *((lambda m, k=k: m.fill_mask("<mask>", topk=k), "topk is .*, allowed: 1 to 52") for k in (0, 53, 1.5, "1")),
        (lambda m: m.encode(b"x"), "the sentence is b'x', expected a text"),
        (lambda m: m.encode("x", None), "the sentence is None, expected a text"),
        (lambda m: m.decode("x"), "the tokens: 'x', expected a tensor of encode"),
        (lambda m: m.decode(torch.ones(3)), r"the tokens: tensor.*expected a tensor of encode\(\)"),
        (lambda m: m.decode(torch.zeros(0).long()), r"expected a tensor of encode\(\)"),
        (lambda m: m.decode(torch.zeros(1, 2).long()), r"the tokens are of shape \(1, 2\), expected one dimension"),
        (lambda m: m.decode(torch.tensor([99])), "the tokens go beyond the dictionary's 56 entries"),
        (lambda m: m.extract_features(torch.tensor([-1])), "the tokens go beyond the dictionary's 56 entries"),
        (lambda m: m.extract_features(torch.zeros(30).long()), "the input has 30 tokens, allowed: 20"),
        (lambda m: m.extract_features([]), "there is no text to extract features of"),
        (lambda m: m.extract_features("x", return_all_hiddens=1), "return_all_hiddens is 1, allowed: False, True"),
    ],
)
def test_bad_input_is_one_line(model, call, message):
    with pytest.raises(UserError, match=message) as error:
        call(model)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": None}, "mos_roberta needs a model: give checkpoint=PATH, URL or name"),
        ({"checkpoint": 3}, "checkpoint is 3, expected a path"),
        ({"architecture": None}, "is a supernet, which has many architectures: give --architecture"),
        ({"architecture": 3}, "architecture is 3, expected a path"),
        ({"data": "/nowhere"}, "/nowhere"),
        ({"bpe": 3}, "bpe is 3, allowed: sentencepiece, subword_nmt, bert, none"),
        ({"bpe": "subword_nmt"}, "sentencepiece.bpe.model is for sentencepiece"),
        ({"tokenizer": "x"}, "tokenizer is 'x', allowed: moses"),
    ],
)
def test_arguments(path, arguments, message):
    options = {"checkpoint": path, "architecture": "largest", "source": "local", "trust_repo": True, **arguments}
    with pytest.raises(UserError, match=message) as error:
        torch.hub.load(str(ROOT), "mos_roberta", **options)
    assert "\n" not in str(error.value)


def test_the_other_family_s_models(path, tmp_path, capsys):
    small = small_supernet(tmp_path)
    with pytest.raises(UserError, match="is of family translation, which fills no masks"):
        hub.load(small.path, "largest")
    with pytest.raises(UserError, match="is of family masked_lm, which translates nothing"):
        translation.load(path, "largest")
    for side in "ab":
        (tmp_path / f"x.{side}").write_text("a\n")
    command = ["evaluate", "--path", str(path), "--architecture", "largest", "--test-set", str(tmp_path / "x")]
    command += ["--source-lang", "a", "--target-lang", "b", "--output", str(tmp_path / "out")]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "translates nothing" in err and err.count("\n") == 1


def test_half_precision(path):
    model = hub.load(path, "smallest").to(torch.bfloat16)
    assert model.extract_features("ein Hund").dtype == torch.bfloat16
    assert len(model.fill_mask("ein <mask>", topk=3)) == 3 and model.model.max_positions() == kit.POSITIONS
