"""The stock transformer: the same function, and what it cannot express."""

from __future__ import annotations

import pytest
import torch

from fairseq_mos import hub
from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.export import checkpoint
from fairseq_mos.families.translation import stock
from fairseq_mos.models.opening import load_bundle
from tests import toy
from tests.arch.samples import changed
from tests.fairseq_commands import ROOT, run_steps
from tests.small import small_supernet

UNIFORM = {
    "qkv_dim": "embed",
    "encoder": {"embed_dim": 32, "layers": 3, "ffn_dims": [64, 32, 48], "self_attention_heads": [4, 4, 4]},
    "decoder": {
        "embed_dim": 32,
        "layers": 2,
        "ffn_dims": [32, 64],
        "self_attention_heads": [2, 2],
        "cross_attention_heads": [2, 2],
        "arbitrary_attention": [-1, -1],
    },
}


def _assert_same_scores(one, two):
    batch = toy.batch()
    real = batch["target"].ne(1)
    # In fp64, where what is left comes from the scale of queries that was put into fp32 weights.
    with torch.no_grad():
        scores = [model.double()(**batch["net_input"])[0][real] for model in (one, two)]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-6)


def _file(folder, data):
    Architecture.from_dict(data).save(folder / "arch.yaml")
    return str(folder / "arch.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"decoder.embed_dim": 24},
        {"encoder.embed_dim": 24},
    ],
    ids=["equal widths", "narrow decoder", "narrow encoder"],
)
def test_the_same_function(exportable, tmp_path, change):
    data = UNIFORM
    for path, value in change.items():
        data = changed(data, path, value)
    bundle = load_bundle(exportable.path, _file(tmp_path, data))
    same = stock.to_stock(bundle)
    _assert_same_scores(same.model, bundle.model)
    assert type(same.model).__name__ == "TransformerModel"


def test_fewer_and_narrower_heads_are_padded(tmp_path):
    # Width 16 for queries in an embedding of 32 or 24: 4 heads of 4 become heads of 8 or 6.
    small = small_supernet(tmp_path, toy.space(16, arbitrary_attention=[-1]))
    data = changed(UNIFORM, "qkv_dim", 16)
    for heads in (["encoder.self_attention_heads", [4, 2, 4]], ["decoder.cross_attention_heads", [4, 2]]):
        data = changed(data, *heads)
    bundle = load_bundle(small.path, _file(tmp_path, data))
    said = []
    wrote = stock.write(bundle, tmp_path / "stock.pt", say=said.append)
    same = load_bundle(str(wrote[0]))
    assert same.model.encoder.layers[0].self_attn.num_heads == 4
    sizes = [sum(p.numel() for p in model.parameters()) for model in (same.model, bundle.model)]
    assert said == [f"the stock model has one size for all layers: padding added {sizes[0] - sizes[1]:,} zeros"]
    assert sizes[0] > sizes[1]
    _assert_same_scores(same.model, bundle.model)


def test_it_runs_without_the_plugin(exportable, tmp_path):
    """fairseq-generate, where only fairseq itself is imported, translates as with the subnet and the plugin."""
    bundle = load_bundle(exportable.path, _file(tmp_path, UNIFORM))
    stock.write(bundle, tmp_path / "stock.pt")
    checkpoint.write_checkpoint(tmp_path / "subnet.pt", bundle.model, bundle.config)
    interface = hub.of_bundle(bundle)
    text = [interface.apply_bpe(line) for line in exportable.sources]
    for language in ("en", "de"):
        (tmp_path / f"test.{language}").write_text("".join(f"{line}\n" for line in text), "utf-8")
    dictionary = str(exportable.folder / "dict.en.txt")
    steps = [
        ["fairseq-preprocess", "-s", "en", "-t", "de", "--testpref", str(tmp_path / "test"), "--destdir", "bin"]
        + ["--srcdict", dictionary, "--tgtdict", dictionary],
    ]
    # Defects of fairseq that a user without the plugin has to live with: sentences are lost otherwise.
    generate = ["fairseq-generate", "bin", "--gen-subset", "test", "--cpu", "--required-batch-size-multiple", "1"]
    generate += ["--beam", "3", "--max-len-b", "8", "--num-workers", "0"]
    run_steps(steps, tmp_path)
    without = run_steps([[*generate, "--path", "stock.pt"]], tmp_path).stdout
    plugin = ["--user-dir", str(ROOT / "fairseq_mos")]
    with_plugin = run_steps([[*generate, *plugin, "--path", "subnet.pt"]], tmp_path).stdout
    found = [sorted(line.split("\t")[::2] for line in text.splitlines() if line.startswith("H-"))
             for text in (without, with_plugin)]  # fmt: skip
    assert len(found[0]) == 12 and found[0] == found[1]


def test_what_it_cannot_express_is_named(small, exportable, tmp_path):
    with pytest.raises(UserError, match=r"decoder layer 0 attends the last 3; decoder layer 1 attends the last 2"):
        data = changed(changed(UNIFORM, "decoder.arbitrary_attention", [2, 1]), "qkv_dim", 16)
        stock.to_stock(load_bundle(small.path, _file(tmp_path, data)))
    for path, heads, message in (
        (
            "encoder.self_attention_heads",
            [4, 2, 4],
            r"2 heads of 16 \(encoder self-attention of layer 1\), 4 heads of 8 "
            r"\(encoder self-attention of layers 0, 2\) do not fit into 32 channels; .* layers have equal heads",
        ),
        (
            "decoder.cross_attention_heads",
            [2, 4],
            r"2 heads of 16 \(decoder self-attention of layers 0, 1; cross-attention of layer 0\), 4 heads of 8 "
            r"\(decoder cross-attention of layer 1\)",
        ),
    ):
        with pytest.raises(UserError, match=message):
            stock.to_stock(load_bundle(exportable.path, _file(tmp_path, changed(UNIFORM, path, heads))))


def test_advice_where_queries_are_wider_than_the_embedding(tmp_path):
    small = small_supernet(tmp_path, toy.space(40, arbitrary_attention=[-1]))
    with pytest.raises(UserError, match="do not fit into 32 channels; .* whose encoder is at least 40 wide"):
        stock.to_stock(load_bundle(small.path, _file(tmp_path, changed(UNIFORM, "qkv_dim", 40))))
