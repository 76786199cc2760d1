"""CTranslate2 translates as PyTorch does."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos.errors import UserError
from fairseq_mos.families.translation import ct2, probe
from fairseq_mos.models.opening import load_bundle
from tests import toy
from tests.small import small_supernet


@pytest.mark.parametrize("architecture", ["largest", "smallest", "random:1", "random:2", "random:3"])
def test_the_same_greedy_translations(exportable, tmp_path, architecture):
    """Heads that differ by layer, widths that differ by side."""
    bundle = load_bundle(exportable.path, architecture)
    ct2.write(bundle, tmp_path / "out")
    sentences = probe.read_sentences(bundle, None, 20)
    verdict = probe.compare(probe.run(bundle, sentences), ct2.run(tmp_path / "out", sentences))
    assert verdict.differing == [] and verdict.score_difference < 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_normalize_before": True, "decoder_normalize_before": True},
        {"layernorm_embedding": True},
        {"activation_fn": "gelu"},
        {"share_all_embeddings": False},
        {"share_all_embeddings": False, "share_decoder_input_output_embed": True},
    ],
    ids=lambda options: ",".join(options),
)
def test_options_of_the_model(tmp_path, options):
    small = small_supernet(tmp_path, toy.space(16, arbitrary_attention=[-1]), **options)
    bundle = load_bundle(small.path, "random:1")
    ct2.write(bundle, tmp_path / "out")
    sentences = probe.read_sentences(bundle, str(tmp_path / "test.en"), 12)
    verdict = probe.compare(probe.run(bundle, sentences), ct2.run(tmp_path / "out", sentences))
    assert verdict.differing == [] and verdict.score_difference < 1e-3


def test_int8_leaves_the_model_as_it_is(exportable, tmp_path):
    bundle = load_bundle(exportable.path, "largest")
    before = {name: tensor.clone() for name, tensor in bundle.model.state_dict().items()}
    wrote = ct2.write(bundle, tmp_path / "out", quantization="int8")
    after = bundle.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    full = ct2.write(bundle, tmp_path / "full")
    size = {path.name: path.stat().st_size for path in wrote}
    assert size["model.bin"] < 0.6 * next(path for path in full if path.name == "model.bin").stat().st_size
    assert "sentencepiece.bpe.model" in size


def test_what_it_cannot_express_is_named(small, exportable, tmp_path):
    with pytest.raises(
        UserError, match="--format ctranslate2 knows the last encoder layer's output alone, but decoder"
    ):
        ct2.write(load_bundle(small.path, "random:1"), tmp_path / "out")
    bundle = load_bundle(exportable.path, "largest")
    with pytest.raises(UserError, match="--quantization is 'int4', allowed: float32, int8"):
        ct2.write(bundle, tmp_path / "out", quantization="int4")
    bundle.config["model"]["activation_fn"] = "tanh"
    with pytest.raises(UserError, match="activation_fn is tanh, allowed: relu"):
        ct2.write(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("<blank> 1", "dict.de.txt has the word <blank>, which is its name of the padding"),
        ("<s> 1 #fairseq:overwrite", "dict.de.txt has the word <s>, twice"),
    ],
)
def test_words_that_are_not_unique_are_named(tmp_path, line, message):
    space = toy.space(16, arbitrary_attention=[-1])
    small = small_supernet(tmp_path, space, share_all_embeddings=False)
    words = (tmp_path / "dict.de.txt").read_text("utf-8").splitlines()
    (tmp_path / "dict.de.txt").write_text("\n".join([line, *words[1:]]) + "\n", "utf-8")
    with pytest.raises(UserError, match=message):
        ct2.write(load_bundle(small.path, "largest"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_kept(exportable, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="out holds thesis.txt, which is not of this format: give another --output"):
        ct2.write(load_bundle(exportable.path, "largest"), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
