from __future__ import annotations

import json
import re

import pytest

from fairseq_mos.arch import Architecture, SearchSpace, shipped_architectures, shipped_file, shipped_spaces

EXPORTABLE = ("iwslt14", "tiny", "wmt")


def test_names():
    assert shipped_spaces() == (
        "autodistil_base",
        "autodistil_small",
        "autodistil_tiny",
        "bert_tiny",
        "bert_v1",
        "bert_v5.1",
        "bert_v5.2",
        "iwslt14",
        "iwslt14_exportable",
        "multi30k",
        "tiny",
        "tiny_exportable",
        "wmt",
        "wmt_exportable",
    )
    assert shipped_file("spaces", "tiny").name == "tiny.yaml"
    assert shipped_file("spaces", "no") is None
    assert shipped_file("spaces", "../archs/hat/x") is None
    hat = [name for name in shipped_architectures() if name.startswith("hat/")]
    assert len(hat) == 44
    assert all(re.fullmatch(r"hat/[\w.]+", name) for name in hat)


@pytest.mark.parametrize("name", shipped_spaces())
def test_spaces_load_under_their_name(name):
    space = SearchSpace.load(name)
    assert space.name == name and space.description
    assert shipped_file("spaces", name).read_text().startswith("# ")


@pytest.mark.parametrize("name", EXPORTABLE)
def test_exportable_spaces_differ_in_arbitrary_attention_alone(name):
    space, exportable = SearchSpace.load(name), SearchSpace.load(f"{name}_exportable")
    assert space.decoder.arbitrary_attention == (2, 1, -1)
    assert exportable.decoder.arbitrary_attention == (-1,)
    assert space != exportable and space.digest() != exportable.digest()
    data, other = space.to_dict(), exportable.to_dict()
    for one in (data, other):
        del one["name"], one["description"], one["decoder"]["arbitrary_attention"]
    assert data == other


def test_stock_fairseq_can_express_the_largest_of_multi30k():
    arch = SearchSpace.load("multi30k").largest()
    assert arch.qkv_dim is None
    assert arch.encoder.embed_dim == arch.decoder.embed_dim
    assert set(arch.decoder.arbitrary_attention) == {-1}
    for values in (arch.encoder.ffn_dims, arch.decoder.ffn_dims, arch.decoder.self_attention_heads):
        assert len(set(values)) == 1
    assert arch.decoder.self_attention_heads == arch.decoder.cross_attention_heads


@pytest.mark.parametrize("name", shipped_architectures())
def test_architectures_are_of_the_space_they_name(name):
    path = shipped_file("archs", name)
    arch = Architecture.load(path)
    SearchSpace.load(arch.space).validate(arch, str(path))
    assert "MIT" in path.read_text()


def test_hat_architectures_equal_the_published_ones(shared_data):
    records = json.loads(shared_data("hat_subnets.json").read_text())
    assert len(records) == 44
    for record in records:
        path = shipped_file("archs", "hat/" + record["name"].replace("@", "_"))
        arch = Architecture.load(path)
        assert arch == Architecture.from_dict({key: record[key] for key in ("qkv_dim", "encoder", "decoder")})
        assert arch.space == ("iwslt14" if record["task"] == "iwslt14.de-en" else "wmt")
        text = path.read_text()
        for key, pattern in {
            "task": "task: {} ",
            "hardware": "searched for: {}, ",
            "published_latency": "latency {}\n",
            "published_params_m": "output layer): {} M\n",
            "published_gflops": "output layer): {} G\n",
            "published_bleu": "BLEU: {},",
            "published_sacrebleu": "sacreBLEU: {}\n",
        }.items():
            assert pattern.format(record[key]) in text, (path, key)
