from __future__ import annotations

import json
import random

import pytest

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.costs import Parameters, flops, parameters
from fairseq_mos.families.translation.schema import memory_states
from tests.arch.samples import ARCHITECTURE, changed

ARCH = Architecture.from_dict(ARCHITECTURE)


def parameter_shapes(arch: Architecture) -> list[tuple[int, ...]]:
    """Lists the shape of every tensor of the network: the long way to the same counts."""
    shapes: list[tuple[int, ...]] = []

    def linear(inputs: int, outputs: int) -> None:
        shapes.extend([(outputs, inputs), (outputs,)])

    def layer(dim: int, ffn_dim: int, attentions: list[tuple[int, int]]) -> None:
        for memory_dim, qkv_dim in attentions:
            linear(dim, qkv_dim)
            linear(memory_dim, qkv_dim)
            linear(memory_dim, qkv_dim)
            linear(qkv_dim, dim)
        linear(dim, ffn_dim)
        linear(ffn_dim, dim)
        shapes.extend([(dim,)] * 2 * (len(attentions) + 1))

    encoder, decoder = arch.encoder.embed_dim, arch.decoder.embed_dim
    for ffn_dim in arch.encoder.ffn_dims:
        layer(encoder, ffn_dim, [(encoder, arch.encoder.qkv_dim)])
    for ffn_dim in arch.decoder.ffn_dims:
        layer(decoder, ffn_dim, [(decoder, arch.decoder.qkv_dim), (encoder, arch.decoder.qkv_dim)])
    return shapes


def matrix_products(arch: Architecture, source: int, target: int) -> list[tuple[int, int, int]]:
    """Lists (rows, inner, columns) of every matrix product, head by head."""
    products = []

    def attention(dim: int, memory_dim: int, qkv_dim: int, heads: int, queries: int, keys: int) -> None:
        products.append((queries, dim, qkv_dim))
        products.extend([(keys, memory_dim, qkv_dim)] * 2)
        for _ in range(heads):
            products.append((queries, qkv_dim // heads, keys))
            products.append((queries, keys, qkv_dim // heads))
        products.append((queries, qkv_dim, dim))

    encoder, decoder = arch.encoder, arch.decoder
    for ffn_dim, heads in zip(encoder.ffn_dims, encoder.self_attention_heads):
        attention(encoder.embed_dim, encoder.embed_dim, arch.encoder.qkv_dim, heads, source, source)
        products.extend([(source, encoder.embed_dim, ffn_dim), (source, ffn_dim, encoder.embed_dim)])
    for layer, ffn_dim in enumerate(decoder.ffn_dims):
        dim, qkv_dim = decoder.embed_dim, arch.decoder.qkv_dim
        attention(dim, dim, qkv_dim, decoder.self_attention_heads[layer], target, target)
        keys = memory_states(decoder.arbitrary_attention[layer]) * source
        attention(dim, encoder.embed_dim, qkv_dim, decoder.cross_attention_heads[layer], target, keys)
        products.extend([(target, dim, ffn_dim), (target, ffn_dim, dim)])
    return products


def product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


@pytest.mark.parametrize("name", ["tiny", "multi30k", "wmt", "iwslt14_exportable"])
def test_counts_equal_the_sum_over_tensors_and_products(name):
    space, rng = SearchSpace.load(name), random.Random(4)
    for arch in [space.largest(), space.smallest()] + [space.sample(rng) for _ in range(30)]:
        assert parameters(arch).no_embed == sum(map(product, parameter_shapes(arch)))
        for source, target in ((30, 30), (23, 23), (7, 11)):
            assert flops(arch, source, target) == 2 * sum(map(product, matrix_products(arch, source, target)))
        assert flops(arch) == flops(arch, 30, 30)


def test_a_count_by_hand():
    data = {
        "qkv_dim": 4,
        "encoder": {"embed_dim": 6, "layers": 2, "ffn_dims": [10, 20], "self_attention_heads": [2, 2]},
        "decoder": {
            "embed_dim": 8,
            "layers": 1,
            "ffn_dims": [12],
            "self_attention_heads": [2],
            "cross_attention_heads": [4],
            "arbitrary_attention": [1],
        },
    }
    arch = Architecture.from_dict(data)
    encoder = 2 * (3 * (4 * 6 + 4) + (6 * 4 + 6) + 4 * 6) + (2 * 60 + 16) + (2 * 120 + 26)
    decoder = (3 * (4 * 8 + 4) + (8 * 4 + 8)) + ((4 * 8 + 4) + 2 * (4 * 6 + 4) + (8 * 4 + 8))
    decoder += 2 * 96 + 20 + 6 * 8
    assert parameters(arch) == Parameters(total=encoder + decoder, no_embed=encoder + decoder)
    source, target = 3, 5
    macs = 2 * (4 * source * 6 * 4 + 2 * source * source * 4) + 2 * source * 6 * (10 + 20)
    macs += 4 * target * 8 * 4 + 2 * target * target * 4
    macs += 2 * target * 8 * 4 + 2 * (2 * source) * 6 * 4 + 2 * target * (2 * source) * 4
    macs += 2 * target * 8 * 12
    assert flops(arch, source, target) == 2 * macs
    assert flops(arch, source, target, output_vocabulary=50) == 2 * (macs + target * 8 * 50)


def test_embeddings_of_every_sharing():
    # Encoder width 96, decoder width 64.
    body = parameters(ARCH).no_embed
    assert parameters(ARCH).total == body
    assert parameters(ARCH, 1000) == Parameters(body + 1000 * 96, body)
    assert parameters(ARCH, 1000, 1000, "all").total == body + 1000 * 96
    assert parameters(ARCH, 1000, 700, "decoder").total == body + 1000 * 96 + 700 * 64
    assert parameters(ARCH, 1000, 700, "none").total == body + 1000 * 96 + 2 * 700 * 64
    narrow = changed(ARCHITECTURE, "encoder.embed_dim", 64)
    wide = Architecture.from_dict(changed(narrow, "decoder.embed_dim", 96))
    assert parameters(wide, 1000).total - parameters(wide).no_embed == 1000 * 96


def test_pre_norm_adds_final_norms():
    body = parameters(ARCH).no_embed
    assert parameters(ARCH, normalize_before=True).no_embed == body + 2 * 96 + 2 * 64
    assert parameters(ARCH, normalize_before=(True, False)).no_embed == body + 2 * 96
    assert parameters(ARCH, normalize_before=(False, True)).no_embed == body + 2 * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1000, 700, "all"), "the source vocabulary is 1000 and the target vocabulary 700"),
        ((None, 700, "all"), "the source vocabulary is None and the target vocabulary 700"),
        ((1000, None, "none"), "share is 'none', which needs a source and a target vocabulary"),
        ((1000, 700, "some"), "share is 'some', allowed: all, decoder, none"),
    ],
)
def test_vocabularies_that_do_not_fit(arguments, message):
    with pytest.raises(UserError) as caught:
        parameters(ARCH, *arguments)
    assert message in str(caught.value)


def test_heads_change_nothing_and_memory_states_only_flops():
    heads = Architecture.from_dict(changed(ARCHITECTURE, "decoder.cross_attention_heads", [1, 8]))
    assert parameters(heads) == parameters(ARCH) and flops(heads) == flops(ARCH)
    memory = Architecture.from_dict(changed(ARCHITECTURE, "decoder.arbitrary_attention", [1, 2]))
    assert parameters(memory) == parameters(ARCH)
    # 30 more keys and values of width 96, and 30 x 30 more pairs, all at q/k/v width 64.
    assert flops(memory) - flops(ARCH) == 2 * (2 * 30 * 96 * 64 + 2 * 30 * 30 * 64)


def elementwise(arch: Architecture, length: int) -> int:
    """Elements touched by layer norms and by the scaling of queries and embeddings."""
    encoder, decoder = arch.encoder, arch.decoder
    norms = 2 * encoder.layers * encoder.embed_dim + 3 * decoder.layers * decoder.embed_dim
    queries = encoder.layers * arch.encoder.qkv_dim + 2 * decoder.layers * arch.decoder.qkv_dim
    return length * (norms + queries + encoder.embed_dim + decoder.embed_dim)


def test_the_44_published_subnets(shared_data):
    records = json.loads(shared_data("hat_subnets.json").read_text())
    assert len(records) == 44
    for record in records:
        arch = Architecture.from_dict({key: record[key] for key in ("qkv_dim", "encoder", "decoder")})
        length = 23 if record["task"] == "iwslt14.de-en" else 30
        # Published with two decimals: half a unit of the last one, and room for floats.
        half = 0.005 + 1e-9
        millions = parameters(arch).no_embed / 1e6
        assert millions == pytest.approx(record["published_params_m"], abs=half), record["name"]
        ours = flops(arch, length, length)
        assert ours / 1e9 == pytest.approx(record["published_gflops"], rel=0.005), record["name"]
        theirs = ours + 2 * elementwise(arch, length)
        assert theirs / 1e9 == pytest.approx(record["published_gflops"], abs=half), record["name"]
