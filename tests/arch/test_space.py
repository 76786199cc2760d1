from __future__ import annotations

import collections
import copy
import dataclasses
import itertools
import operator
import pickle
import random

import pytest

from fairseq_mos.arch import Architecture, SearchSpace, shipped_spaces
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.families.translation.schema import memory_states
from tests.arch.samples import ARCHITECTURE, MINI_SPACE, changed, mini


def enumerate_architectures(space: SearchSpace) -> set[Architecture]:
    return {space.from_genes(values) for values in itertools.product(*(gene.choices for gene in space.genes))}


def cost(arch: Architecture) -> tuple[int, int, int]:
    values = [value for sizes in arch.stacks for name, value in sizes.values if "heads" in name]
    counts = family_of(arch).counts(arch)
    return counts["flops"], counts["params_no_embed"], sum(sum(v) if isinstance(v, tuple) else v for v in values)


def test_sizes():
    # Two widths a side; 3*2 choices for an encoder layer, 3*2*2*3 for a decoder layer.
    wmt = 2 * 6**6 * 2 * sum(36**layers for layers in range(1, 7))
    assert SearchSpace.load("wmt").size() == wmt == 417_846_678_672_384
    assert f"{wmt:.2e}" == "4.18e+14"
    assert SearchSpace.load("iwslt14").size() == wmt
    assert SearchSpace.load("wmt_exportable").size() == 2 * 6**6 * 2 * sum(12**n for n in range(1, 7))
    assert SearchSpace.load("tiny").size() == 2 * 6**3 * 2 * (36 + 36**2 + 36**3)
    # Both depths vary: 2*(4 + 16) encoders, 2*(4 + 16) decoders.
    assert mini().size() == 40 * 40


@pytest.mark.parametrize(
    "space",
    [
        mini(),
        mini(qkv_dim="embed"),
        mini(
            encoder__layers=[3],
            encoder__self_attention_heads=[4],
            decoder__embed_dim=[16],
            decoder__arbitrary_attention=[-1, 1, 2],
        ),
        mini(encoder__layers=[2], encoder__embed_dim=[8], decoder__arbitrary_attention=[1, -1]),
    ],
)
def test_size_largest_and_smallest_equal_brute_force(space):
    architectures = enumerate_architectures(space)
    assert len(architectures) == len({arch.digest() for arch in architectures}) == space.size()
    costs = {arch: cost(arch) for arch in architectures}
    assert costs[space.largest()] == max(costs.values())
    assert costs[space.smallest()] == min(costs.values())
    assert sum(value == max(costs.values()) for value in costs.values()) == 1
    assert sum(value == min(costs.values()) for value in costs.values()) == 1


@pytest.mark.parametrize("name", shipped_spaces())
def test_no_single_gene_beats_largest_or_smallest(name):
    space = SearchSpace.load(name)
    for arch, better in ((space.largest(), operator.gt), (space.smallest(), operator.lt)):
        genes = space.to_genes(arch)
        others = {
            space.from_genes(genes[:index] + (choice,) + genes[index + 1 :])
            for index, gene in enumerate(space.genes)
            for choice in gene.choices
        } - {arch}
        assert len(others) > 6
        assert all(better(cost(arch), cost(other)) for other in others)


def test_choices_are_from_large_to_small():
    encoder = mini(encoder__embed_dim=[8, 24], encoder__ffn_dims=[40], encoder__layers=[1, 5]).encoder
    assert (encoder.embed_dim, encoder.ffn_dims, encoder.layers) == ((24, 8), (40,), (5, 1))


def test_genes_have_a_fixed_order():
    names = [gene.name for gene in SearchSpace.load("wmt").genes]
    assert len(names) == 40
    expected = ["encoder.embed_dim", "encoder.layers"]
    expected += [f"encoder.ffn_dims[{layer}]" for layer in range(6)]
    expected += [f"encoder.self_attention_heads[{layer}]" for layer in range(6)]
    expected += ["decoder.embed_dim", "decoder.layers"]
    for key in ("ffn_dims", "self_attention_heads", "cross_attention_heads", "arbitrary_attention"):
        expected += [f"decoder.{key}[{layer}]" for layer in range(6)]
    assert names == expected


def test_genes_of_a_known_architecture():
    space = SearchSpace.load("tiny")
    arch = Architecture.from_dict(ARCHITECTURE)
    genes = (96, 3, 256, 128, 64, 4, 2, 4, 64, 2, 64, 256, 256, 2, 4, 4, 4, 4, 4, -1, 2, 2)
    assert space.to_genes(arch) == genes
    assert space.from_genes(genes) == arch
    assert space.from_genes(genes).space == "tiny"
    # Whatever the inactive third decoder layer holds, the architecture is the same.
    for index in (12, 15, 18, 21):
        values = list(genes)
        values[index] = space.genes[index].choices[-1]
        assert space.from_genes(values) == arch
        assert space.to_genes(space.from_genes(values)) == genes


@pytest.mark.parametrize("name", shipped_spaces())
def test_genes_round_trip(name):
    space, rng = SearchSpace.load(name), random.Random(1)
    for arch in [space.largest(), space.smallest()] + [space.sample(rng) for _ in range(100)]:
        space.validate(arch)
        assert space.from_genes(space.to_genes(arch)) == arch


def test_wrong_genes_are_named():
    space = mini()
    with pytest.raises(UserError, match="^genes: 3 values, but search space 'mini' has 16 genes$"):
        space.from_genes([1, 2, 3])
    values = list(space.to_genes(space.largest()))
    values[2] = 33
    with pytest.raises(UserError, match=r"^genes: encoder.ffn_dims\[0\] is 33, but .* 'mini' allows 32, 16$"):
        space.from_genes(values)


def test_sampling_is_a_function_of_the_generator():
    space = SearchSpace.load("wmt")
    draw = [space.sample(random.Random(seed)) for seed in range(20)]
    assert draw == [space.sample(random.Random(seed)) for seed in range(20)]
    assert len(set(draw)) == 20
    assert space.sample(random.Random(7)).digest() == "4beb57341d22"
    state = random.getstate()
    space.sample(random.Random(3))
    assert random.getstate() == state


def test_sampling_equals_uniform_genes():
    space, rng = SearchSpace.load("tiny"), random.Random(5)
    genes = [rng.choice(gene.choices) for gene in space.genes]
    other = random.Random(5)
    assert space.sample(other) == space.from_genes(genes)
    assert other.getstate() == rng.getstate()


def test_sampling_is_uniform_in_every_gene():
    space, rng = SearchSpace.load("tiny"), random.Random(0)
    counts = [collections.Counter() for _ in space.genes]
    for _ in range(3000):
        arch = space.sample(rng)
        for gene, value, count in zip(space.genes, space.to_genes(arch), counts):
            # An inactive layer shows its gene's largest choice, not what was drawn.
            layer = int(gene.name[-2]) if gene.name.endswith("]") else 0
            if gene.name.startswith("encoder") or layer < arch.decoder.layers:
                count[value] += 1
    for gene, count in zip(space.genes, counts):
        assert sum(count.values()) > 900
        expected = sum(count.values()) / len(gene.choices)
        chi_square = sum((count[choice] - expected) ** 2 / expected for choice in gene.choices)
        # Exceeded once in 10,000 for 0, 1, 2 degrees of freedom.
        assert chi_square < {1: 1e-9, 2: 15.2, 3: 18.5}[len(gene.choices)], (gene, count)


def test_order_of_choices_name_and_description_are_no_part_of_identity():
    space = mini()
    shuffled = copy.deepcopy(MINI_SPACE)
    for side in ("encoder", "decoder"):
        for values in shuffled[side].values():
            values.reverse()
    other = SearchSpace.from_dict({**shuffled, "name": "other", "description": "text"})
    assert other == space and hash(other) == hash(space) and other.digest() == space.digest()
    assert other.genes == space.genes
    assert other.sample(random.Random(0)) == space.sample(random.Random(0))
    assert space.digest() == "400d536f19ad"
    assert mini(qkv_dim="embed").digest() != space.digest()
    assert mini(decoder__layers=[2]) != space


def test_round_trips(tmp_path):
    for space in [SearchSpace.load(name) for name in shipped_spaces()] + [mini(), mini(qkv_dim="embed")]:
        path = tmp_path / "space.yaml"
        space.save(path)
        for other in (
            SearchSpace.load(path),
            SearchSpace.load(str(path)),
            SearchSpace.load(space.to_json()),
            SearchSpace.from_dict(space.to_dict()),
            pickle.loads(pickle.dumps(space)),
            copy.deepcopy(space),
        ):
            assert other == space and other.to_dict() == space.to_dict()
            assert other.genes == space.genes
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", "", "f.yaml: name is '', expected a name"),
        ("name", 7, "f.yaml: name is 7, expected a name"),
        ("description", 7, "f.yaml: description is 7, expected text"),
        ("qkv_dim", "wide", "f.yaml: qkv_dim is 'wide', expected a positive integer, or embed"),
        ("encoder", None, "f.yaml: encoder is None, expected a mapping with the keys embed_dim, layers, "),
        ("encoder.depth", [1], "f.yaml: encoder.depth is unknown, the keys are embed_dim, layers, ffn_dims"),
        ("encoder.layers", 6, "f.yaml: encoder.layers is 6, expected a list with at least one entry"),
        ("encoder.layers", [], "f.yaml: encoder.layers is [], expected a list with at least one entry"),
        ("encoder.layers.1", 0, "f.yaml: encoder.layers[1] is 0, expected a positive integer"),
        ("encoder.layers.1", True, "f.yaml: encoder.layers[1] is True, expected a positive integer"),
        ("decoder.ffn_dims.1", 32, "f.yaml: decoder.ffn_dims[1] is 32, a duplicate: list each choice once"),
        ("decoder.arbitrary_attention.0", 0, "f.yaml: decoder.arbitrary_attention[0] is 0, allowed: -1, 1"),
        (
            "decoder.cross_attention_heads.0",
            3,
            "f.yaml: decoder.cross_attention_heads has 3, allowed: head counts that divide the q/k/v width 8",
        ),
        (
            "decoder.arbitrary_attention.0",
            1,
            "f.yaml: decoder.arbitrary_attention has 1, which needs 2 encoder layers, "
            "but encoder.layers allows 1",
        ),
    ],
)
def test_wrong_spaces_are_named(path, value, message):
    with pytest.raises(UserError) as caught:
        SearchSpace.from_dict(changed(MINI_SPACE, path, value), "f.yaml")
    assert str(caught.value).startswith(message)


def test_heads_must_divide_every_width_that_they_can_meet():
    data = changed(changed(MINI_SPACE, "qkv_dim", "embed"), "encoder.embed_dim", [16, 18])
    with pytest.raises(UserError, match="encoder.self_attention_heads has 4, .* the q/k/v width 18"):
        SearchSpace.from_dict(data)
    SearchSpace.from_dict(changed(data, "encoder.self_attention_heads", [2]))


def test_missing_keys_of_a_space_are_named():
    for key in ("name", "qkv_dim", "encoder", "decoder"):
        data = {name: value for name, value in MINI_SPACE.items() if name != key}
        with pytest.raises(UserError, match=f"^f.yaml: {key} is missing"):
            SearchSpace.from_dict(data, "f.yaml")


def test_unknown_names_and_bad_files(tmp_path):
    with pytest.raises(UserError) as caught:
        SearchSpace.load("wmt15")
    assert str(caught.value) == (
        f"search space 'wmt15': no such file; the shipped spaces are {', '.join(shipped_spaces())}"
    )
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    with pytest.raises(UserError, match=f"^{empty}: the file is empty, expected YAML"):
        SearchSpace.load(empty)
    with pytest.raises(UserError, match="^inline search space: malformed JSON"):
        SearchSpace.load("{")
    # An architecture in place of a space.
    path = tmp_path / "arch.yaml"
    SearchSpace.load("tiny").largest().save(path)
    with pytest.raises(UserError, match=f"^{path}: space is unknown, the keys are name, qkv_dim"):
        SearchSpace.load(path)


@pytest.mark.parametrize(
    ("path", "value", "field", "shown", "allowed"),
    [
        ("qkv_dim", 32, "qkv_dim", "32", "64"),
        ("qkv_dim", "embed", "qkv_dim", "embed", "64"),
        ("encoder.embed_dim", 80, "encoder.embed_dim", "80", "96, 64"),
        ("encoder.ffn_dims.1", 100, "encoder.ffn_dims[1]", "100", "256, 128, 64"),
        ("encoder.self_attention_heads.2", 8, "encoder.self_attention_heads[2]", "8", "4, 2"),
        ("decoder.embed_dim", 128, "decoder.embed_dim", "128", "96, 64"),
        ("decoder.ffn_dims.0", 1, "decoder.ffn_dims[0]", "1", "256, 128, 64"),
        ("decoder.self_attention_heads.0", 1, "decoder.self_attention_heads[0]", "1", "4, 2"),
        ("decoder.cross_attention_heads.1", 8, "decoder.cross_attention_heads[1]", "8", "4, 2"),
    ],
)
def test_validation_names_file_field_value_and_choices(path, value, field, shown, allowed):
    space = SearchSpace.load("tiny")
    data = changed(ARCHITECTURE, path, value)
    arch = Architecture.from_dict(data)
    with pytest.raises(UserError) as caught:
        space.validate(arch, "a.yaml")
    message = f"a.yaml: {field} is {shown}, but search space 'tiny' allows {allowed}"
    assert str(caught.value) == message
    with pytest.raises(UserError) as caught:
        space.validate(dataclasses.replace(arch, space="other"), "a.yaml")
    assert str(caught.value) == message + " (it was made for search space 'other')"


def test_validation_of_depth_and_arbitrary_attention():
    tiny, exportable, wmt = (SearchSpace.load(name) for name in ("tiny", "tiny_exportable", "wmt"))
    arch = Architecture.from_dict(ARCHITECTURE)
    tiny.validate(arch)
    with pytest.raises(UserError, match=r"^architecture: decoder.arbitrary_attention\[1\] is 2, .* -1$"):
        exportable.validate(arch)
    with pytest.raises(UserError, match=r"decoder.layers is 1, but search space 'x' allows 2$"):
        mini(name="x", decoder__layers=[2]).validate(mini(name="x", decoder__layers=[1]).largest())
    with pytest.raises(UserError, match=r"qkv_dim is 64, .* 'wmt' allows 512 \(it was made for .* 'tiny'\)$"):
        wmt.validate(tiny.largest())
    assert max(memory_states(value) for value in arch.decoder.arbitrary_attention) == 3
