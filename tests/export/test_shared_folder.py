"""The folder to share: an exact round trip, and one line for whatever is wrong with it."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos import hub
from fairseq_mos.errors import UserError
from fairseq_mos.export import shared_folder
from fairseq_mos.models.loading import load_state
from fairseq_mos.models.opening import load_bundle
from tests import toy
from tests.small import small_supernet


@pytest.fixture(scope="module")
def shared(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "model"
    shared_folder.write(load_bundle(small.path, "random:5"), folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"share_all_embeddings": False}], ids=["shared", "separate"])
def test_the_round_trip_is_exact(tmp_path, options):
    small = small_supernet(tmp_path, toy.space(), **options)
    bundle = load_bundle(small.path, "random:1")
    shared_folder.write(bundle, tmp_path / "out")
    again = load_bundle(str(tmp_path / "out"))
    one, two = bundle.model.state_dict(), again.model.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert again.model.architecture == bundle.model.architecture == small.space.sample(random.Random(1))
    assert again.data.languages == ("en", "de") and again.data.subword_kind == "sentencepiece"
    batch = toy.batch()["net_input"]
    with torch.no_grad():
        assert torch.equal(bundle.model(**batch)[0], again.model(**batch)[0])
    shared_folder.write(again, tmp_path / "third")
    assert (tmp_path / "third/model.safetensors").read_bytes() == (tmp_path / "out/model.safetensors").read_bytes()
    assert json.loads((tmp_path / "third/arch.json").read_text()) == json.loads(
        (tmp_path / "out/arch.json").read_text()
    )


def test_the_weights_file_names_the_folder_too(shared):
    assert load_bundle(str(shared / "model.safetensors")).name == load_bundle(str(shared)).name


def test_a_model_card_is_started_and_never_overwritten(small, shared, tmp_path):
    card = (shared / "README.md").read_text()
    bundle = load_bundle(str(shared))
    assert f"{sum(p.numel() for p in bundle.model.parameters()):,} parameters" in card
    assert bundle.model.architecture.digest() in card and "language: [en, de]" in card
    (shared / "README.md").write_text("mine")
    shared_folder.write(bundle, shared)
    assert (shared / "README.md").read_text() == "mine"


def _truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def _foreign(folder):
    about = json.loads((folder / "arch.json").read_text())
    about["architecture"]["encoder"]["ffn_dims"] = [16, 16, 16]
    (folder / "arch.json").write_text(json.dumps(about))


def _edited(*places_and_value):
    """Changes (or with no value left, removes) one field of arch.json."""

    def spoil(folder):
        about = json.loads((folder / "arch.json").read_text())
        *places, name, value = places_and_value
        inner = about
        for place in places:
            inner = inner[place]
        inner[name] = value
        if value is _GONE:
            del inner[name]
        (folder / "arch.json").write_text(json.dumps(about))

    return spoil


_GONE = object()


def _dictionary(content: bytes):
    return lambda folder: (folder / "dict.de.txt").write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_dictionary(b"one\n"), "dict.de.txt is damaged, expected lines of word and count: Incorrect dictionary"),
        (_dictionary(b"\xff\xfe 1\n"), "dict.de.txt is damaged, .*: Incorrect encoding"),
        (_dictionary(b"a 1\na 1\n"), "dict.de.txt is damaged, .*: Duplicate word"),
        (_dictionary(b"a 1\n"), "dict.de.txt has 5 entries, but the model was trained with 55"),
        (_edited("config", "model", "dropout", "abc"), "arch.json: config.model.dropout is 'abc', allowed: 0 to 1"),
        (_edited("config", "model", "activation_fn", "sin"), "config.model.activation_fn: Invalid value 'sin'"),
        (_edited("config", "dataset", _GONE), "arch.json: config.dataset is missing, expected an object"),
        (_edited("config", "generation", 3), "arch.json: config.generation is 3, expected an object"),
        (_edited("config", "generation", {"beam": "x"}), "arch.json: config.generation.beam: Value 'x'"),
        (_edited("tokenizer", "foo"), "arch.json: tokenizer is 'foo', allowed: null, moses"),
        (_edited("subwords", ["a"]), r"arch.json: subwords is \['a'\], allowed: null, sentencepiece.bpe.model"),
        (_edited("format", "onnx"), "arch.json: format is 'onnx', allowed: safetensors, torch-export"),
        (_edited("architecture", None), "arch.json: architecture is None, expected an object"),
        (_edited("architecture", "encoder", "layers", 0), "arch.json: architecture: encoder.layers"),
        (_truncate, "model.safetensors is damaged"),
        (_foreign, "model.safetensors does not fit .*arch.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot read .*model.safetensors: No such file"),
        (lambda folder: (folder / "arch.json").unlink(), "arch.json: cannot read the description: No such file"),
        (lambda folder: (folder / "arch.json").write_text("{"), "arch.json: malformed JSON"),
        (lambda folder: (folder / "arch.json").write_text("[]"), "arch.json: expected object, got array"),
        (lambda folder: (folder / "arch.json").write_text('{"fairseq_mos": 1}'), "architecture is missing, expect"),
        (_edited("source_lang", None), "source_lang is None, expected text"),
        (lambda folder: (folder / "dict.de.txt").unlink(), "dict.de.txt is missing: .* is incomplete"),
        (lambda folder: (folder / "sentencepiece.bpe.model").unlink(), "sentencepiece.bpe.model is missing"),
    ],
)
def test_what_is_wrong_with_a_folder(shared, tmp_path, spoil, message):
    folder = shutil.copytree(shared, tmp_path / "copy")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_bundle(str(folder))


def test_options_that_are_not_there_have_fairseqs_defaults(shared, tmp_path):
    folder = shutil.copytree(shared, tmp_path / "copy")
    _edited("config", "generation", {})(folder)
    interface = hub.load(folder)
    assert interface.cfg.generation.lenpen == 1 and len(interface.translate(["Hund"], max_len_b=5)) == 1


def test_a_checkpoint_that_is_cut_off(small, tmp_path):
    for name in ("dict.en.txt", "dict.de.txt"):
        shutil.copy(small.folder / name, tmp_path)
    content = (small.folder / "supernet.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut.pt is (damaged or )?truncated"):
        load_bundle(tmp_path / "cut.pt", "largest")
    state = load_state(small.path)
    del state["model"]["encoder.embed_tokens.weight"]
    torch.save({**state, "cfg": OmegaConf.to_container(state["cfg"])}, tmp_path / "part.pt")
    with pytest.raises(UserError, match="part.pt is of no translation model"):
        load_bundle(tmp_path / "part.pt", "largest")


def test_an_architecture_belongs_to_supernets(small, shared):
    with pytest.raises(UserError, match="is a supernet, which has many architectures: give --architecture"):
        load_bundle(small.path)
    with pytest.raises(UserError, match="is a dense model, which has one architecture"):
        load_bundle(str(shared), "largest")
