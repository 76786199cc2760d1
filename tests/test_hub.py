"""torch.hub: loading, translating, scoring, and one line for what cannot be loaded."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from fairseq_mos import hub
from fairseq_mos.errors import UserError
from fairseq_mos.export import shared_folder
from fairseq_mos.models.opening import load_bundle
from tests.fairseq_commands import ROOT
from tests.small import Small, small_supernet

SHORT = {"max_len_a": 0, "max_len_b": 10}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    return small_supernet(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def model(small):
    return torch.hub.load(
        str(ROOT), "mos_subnet", source="local", checkpoint=small.path, architecture="random:1", trust_repo=True
    )


def test_list_and_help_read_well(monkeypatch):
    # torch lists and explains what it has fetched from a host; this checkout stands for that.
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *arguments, **options: str(ROOT))
    assert torch.hub.list("owner/fairseq-mos", trust_repo=True) == ["mos_roberta", "mos_subnet"]
    text = torch.hub.help("owner/fairseq-mos", "mos_subnet", trust_repo=True)
    assert "translate(text, beam=5)" in text and "checkpoint (str)" in text


def test_translate_takes_one_sentence_or_many(model, small):
    many = model.translate(small.sources, beam=3, **SHORT)
    assert len(many) == len(small.sources) and all(isinstance(text, str) for text in many)
    assert model.translate(small.sources[0], beam=3, **SHORT) == many[0]
    # Subwords are joined, nothing of the model's alphabet is left.
    assert not any("▁" in text or "</s>" in text for text in many)


def test_sampling_depends_on_the_seed_alone(model, small):
    options = {"sampling": True, "sampling_topk": 5, **SHORT}
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(model.sample(small.sources, **options))
    assert found[0] == found[1] != found[2]


def test_retained_dropout_depends_on_the_seed_alone(tmp_path):
    small = small_supernet(tmp_path, dropout=0.5)
    interface = hub.load(small.path, "largest")
    plain = interface.translate(small.sources, beam=2, **SHORT)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(interface.translate(small.sources, beam=2, retain_dropout=True, **SHORT))
    assert found[0] == found[1] != found[2] and plain not in found
    assert interface.translate(small.sources, beam=2, **SHORT) == plain
    with pytest.raises(UserError, match="no dropout of that name"):
        interface.translate(small.sources, retain_dropout=True, retain_dropout_modules=["LSTM"])


def test_scores_are_log_probabilities(model, small):
    sources, targets = small.sources[:3], ["ein Hund läuft", "Kinder", "der alte Mann lachen laut im Garten"]
    scores = model.score(sources, targets)
    network = model.models[0]
    for source, target, found in zip(sources, targets, scores):
        tokens = model.encode(target)
        previous = torch.cat([tokens[-1:], tokens[:-1]])
        encoded = model.encode(source)
        with torch.no_grad():
            out = network(encoded[None], torch.tensor([len(encoded)]), previous[None])[0]
        expected = torch.log_softmax(out[0].double(), -1).gather(1, tokens[:, None]).squeeze(1)
        torch.testing.assert_close(found["positional_scores"].double(), expected, rtol=0, atol=1e-5)
        assert found["score"] == pytest.approx(float(expected.mean()), abs=1e-5)
    alone = model.score(sources[0], targets[0])
    assert alone["score"] == pytest.approx(scores[0]["score"], abs=1e-6)
    with pytest.raises(UserError, match="2 sources, but 1 targets"):
        model.score(sources[:2], targets[:1])
    for one, other in ((sources[0], targets[:1]), (sources[:1], targets[0])):
        with pytest.raises(UserError, match="takes one source and one target, or a list of each"):
            model.score(one, other)


def test_sentences_that_are_too_long_are_named(small):
    interface = hub.load(small.path, "smallest", max_tokens=20)
    words = [small.sources[0], " ".join(small.sources)]
    long = len(interface.encode(words[1]))
    for call in (interface.translate, lambda words: interface.score(words, words)):
        with pytest.raises(UserError, match=rf"source 2 has {long} tokens, allowed: 20 \(max_tokens\)"):
            call(words)
    with pytest.raises(UserError, match=rf"target 1 has {long} tokens, allowed: 20 \(max_tokens\)"):
        interface.score(*words)
    interface.cfg.dataset.max_tokens = 5000
    with pytest.raises(UserError, match=r"source 1 has 1201 tokens, allowed: 1024 \(the model's positions\)"):
        interface.translate("Hund " * 1200)
    short = interface.generate([interface.encode(words[0])], skip_invalid_size_inputs=True, **SHORT)
    assert len(short) == 1


def test_a_batch_of_any_size_loses_no_sentence(small):
    interface = hub.load(small.path, "smallest", max_tokens=20)
    assert len(interface.translate(small.sources, beam=1, **SHORT)) == 12


def test_segmented_text(small, model):
    interface = hub.load(small.path, "random:1", bpe="none")
    pieces = model.apply_bpe(small.sources[0])
    expected = model.generate([model.encode(small.sources[0])], beam=2, **SHORT)[0][0]["tokens"]
    found = interface.generate([interface.encode(pieces)], beam=2, **SHORT)[0][0]["tokens"]
    assert torch.equal(found, expected)


def test_half_precision_on_the_cpu(small, tmp_path):
    bundle = load_bundle(small.path, "random:1")
    shared_folder.write(bundle, tmp_path / "shared")
    for model in (hub.of_bundle(bundle), hub.load(tmp_path / "shared")):
        full = model.score(small.sources, small.sources)
        half = model.half().score(small.sources, small.sources)
        assert next(model.models[0].parameters()).dtype == torch.float16
        for one, other in zip(full, half):
            assert other["score"] == pytest.approx(one["score"], abs=0.02)
        assert len(model.translate(small.sources, beam=2, **SHORT)) == 12


def test_half_precision_on_the_gpu(small):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    interface = hub.load(small.path, "random:1").half().cuda()
    assert len(interface.translate(small.sources, beam=2, **SHORT)) == 12


@pytest.fixture
def moved(small, tmp_path):
    """The supernet with its dictionaries, but without the subword model."""
    folder = tmp_path / "moved"
    shutil.copytree(small.folder, folder)
    (folder / "sentencepiece.bpe.model").unlink()
    return folder


def test_without_a_subword_model(moved):
    names = "sentencepiece.bpe.model or bpecodes or code or vocab.txt"
    with pytest.raises(UserError, match=f"no subword model beside .*: put {names} into"):
        hub.load(str(moved / "supernet.pt"), "largest")
    hub.load(str(moved / "supernet.pt"), "largest", bpe="none")
    with pytest.raises(UserError, match="bpe is 'bpe', allowed: sentencepiece, subword_nmt, bert, none"):
        hub.load(str(moved / "supernet.pt"), "largest", bpe="bpe")
    (moved / "sentencepiece.bpe.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="sentencepiece.bpe.model cannot be read as a model of sentencepiece: "):
        hub.load(str(moved / "supernet.pt"), "largest")


def test_other_kinds_of_subwords_and_tokenizers(small, moved, monkeypatch):
    with pytest.raises(UserError, match="bpe is 'subword_nmt', but .*sentencepiece.bpe.model is for sentencepiece"):
        hub.load(small.path, "largest", bpe="subword_nmt")
    (moved / "bpecodes").write_text("#version: 0.2\n")
    monkeypatch.setitem(sys.modules, "subword_nmt", None)
    with pytest.raises(UserError, match="pip install subword-nmt"):
        hub.load(str(moved / "supernet.pt"), "largest")
    with pytest.raises(UserError, match="tokenizer is 'foo', allowed: moses, nltk, space"):
        hub.load(small.path, "largest", tokenizer="foo")
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(UserError, match="pip install sacremoses"):
        hub.load(small.path, "largest", tokenizer="moses")


def test_paths_may_be_paths(small):
    folder = Path(small.folder)
    found = torch.hub.load(
        str(ROOT), "mos_subnet", source="local", checkpoint=folder / "supernet.pt", architecture="smallest",
        data=folder, trust_repo=True,
    )  # fmt: skip
    assert found.cfg.dataset.max_tokens == 4096


def test_an_archive_by_url_and_by_name(small, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    bundle = load_bundle(small.path, "random:1")
    shared_folder.write(bundle, tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "model", "model")
    url = (tmp_path / "model.tar.gz").as_uri()
    (tmp_path / "names.yaml").write_text(f"transformer.mos.toy: {{url: '{url}'}}\n")
    monkeypatch.setenv("FAIRSEQ_MOS_HUB", str(tmp_path / "names.yaml"))
    expected = hub.of_bundle(bundle).translate(small.sources[:2], beam=2, **SHORT)
    for source in (url, "transformer.mos.toy"):
        found = torch.hub.load(
            str(ROOT), "mos_subnet", source="local", checkpoint=source, progress=False, trust_repo=True
        )
        assert found.translate(small.sources[:2], beam=2, **SHORT) == expected
    assert sum(name.endswith(".tar.gz") for _, _, names in os.walk(tmp_path / "home") for name in names) == 1


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (None, "give checkpoint=PATH, URL or name"),
        ("transformer.unknown", "no such file, and no model of that name"),
        ("file:///nowhere/model.pt", "cannot download file:///nowhere/model.pt: "),
    ],
)
def test_models_that_are_nowhere(tmp_path, monkeypatch, checkpoint, message):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=message):
        torch.hub.load(str(ROOT), "mos_subnet", source="local", checkpoint=checkpoint, trust_repo=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": 3}, "checkpoint is 3, expected a path"),
        ({"checkpoint": b"x"}, "checkpoint is b'x', expected a path"),
        ({"checkpoint": "n" * 300}, "cannot read n.*File name too long"),
        ({"checkpoint": "n\0"}, "cannot read n"),
        ({"checkpoint": "/dev/null"}, "/dev/null"),
        ({"architecture": 3}, "architecture is 3, expected a path"),
        ({"architecture": ["largest"]}, r"architecture is \['largest'\], expected a path"),
        ({"architecture": "n" * 300}, "n"),
        ({"architecture": "n\0"}, "n"),
        ({"architecture": "/dev"}, "/dev"),
        ({"data": 3}, "data is 3, expected a path"),
        ({"data": "n" * 300}, "n"),
        ({"data": "n\0"}, "n"),
        ({"data": "{file}"}, "supernet.pt"),
        ({"data": "/nowhere"}, "/nowhere"),
        ({"bpe": 3}, "bpe is 3, allowed: sentencepiece, subword_nmt, bert, none"),
        ({"bpe": ["none"]}, r"bpe is \['none'\], allowed: sentencepiece"),
        ({"tokenizer": 3}, "tokenizer is 3, allowed: moses"),
        ({"tokenizer": ["moses"]}, r"tokenizer is \['moses'\], allowed: moses"),
        ({"tokenizer": "n" * 10_000}, "tokenizer is 'nnn.*, allowed: moses"),
        *(({"max_tokens": value}, "max_tokens is .*, allowed: 1 to 10,000,000") for value in (
            0, -1, 1.5, "9", True, None, float("nan"), float("inf"), 10**400, [1])),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_arguments(small, arguments, message):
    arguments = {name: small.path if value == "{file}" else value for name, value in arguments.items()}
    with pytest.raises(UserError, match=message) as error:
        torch.hub.load(
            str(ROOT), "mos_subnet", source="local", trust_repo=True,
            **{"checkpoint": small.path, "architecture": "largest", **arguments},
        )  # fmt: skip
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_folders_that_are_none(small, tmp_path):
    for name in ("empty", "taken/arch.json", "pt/model.pt"):
        (tmp_path / name).mkdir(parents=True)
        with pytest.raises(UserError) as error:
            hub.load(tmp_path / name.partition("/")[0])
        assert "\n" not in str(error.value)
    with pytest.raises(UserError):
        hub.load(tmp_path / "pt/model.pt")
