from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.schema import memory_states
from tests.arch.samples import ARCHITECTURE, changed


@pytest.fixture
def arch() -> Architecture:
    return Architecture.from_dict({**ARCHITECTURE, "space": "tiny"})


def test_fields_and_derived_values(arch):
    encoder, decoder = arch.encoder, arch.decoder
    assert arch.stacks == (encoder, decoder)
    assert (encoder.embed_dim, encoder.ffn_dims, encoder.self_attention_heads) == (96, (256, 128, 64), (4, 2, 4))
    assert (decoder.embed_dim, decoder.ffn_dims, decoder.self_attention_heads) == (64, (64, 256), (2, 4))
    assert (decoder.cross_attention_heads, decoder.arbitrary_attention) == ((4, 4), (-1, 2))
    assert (arch.encoder.layers, arch.decoder.layers) == (3, 2)
    assert (arch.encoder.qkv_dim, arch.decoder.qkv_dim) == (64, 64)
    assert [memory_states(value) for value in (-1, 1, 2)] == [1, 2, 3]
    follows = Architecture.from_dict(changed(ARCHITECTURE, "qkv_dim", "embed"))
    assert follows.qkv_dim is None
    assert (follows.encoder.qkv_dim, follows.decoder.qkv_dim) == (96, 64)


def test_round_trips(arch, tmp_path):
    path = tmp_path / "new" / "arch.yaml"
    arch.save(path)
    assert path.read_text().startswith("# ")
    assert "  ffn_dims: [256, 128, 64]\n" in path.read_text()
    follows = Architecture.from_dict(changed(ARCHITECTURE, "qkv_dim", "embed"))
    for one in (arch, follows):
        one.save(path)
        copies = [
            Architecture.load(path),
            Architecture.load(str(path)),
            Architecture.load(one.to_json()),
            Architecture.load("  " + one.to_json()),
            Architecture.from_dict(one.to_dict()),
            pickle.loads(pickle.dumps(one)),
            copy.deepcopy(one),
        ]
        for other in copies:
            assert other == one and hash(other) == hash(one)
            assert other.space == one.space and other.to_json() == one.to_json()
    assert arch.to_dict() == {**ARCHITECTURE, "space": "tiny"}
    assert "\n" not in arch.to_json() and " " not in arch.to_json()


def test_identity_leaves_out_the_space_and_nothing_else(arch):
    canonical = (
        '{"decoder":{"arbitrary_attention":[-1,2],"cross_attention_heads":[4,4],"embed_dim":64,'
        '"ffn_dims":[64,256],"layers":2,"self_attention_heads":[2,4]},"encoder":{"embed_dim":96,'
        '"ffn_dims":[256,128,64],"layers":3,"self_attention_heads":[4,2,4]},"qkv_dim":64}'
    )
    assert dataclasses.replace(arch, space=None).to_json() == canonical
    assert arch.digest() == hashlib.sha256(canonical.encode()).hexdigest()[:12] == "374c0deb07e5"
    other = dataclasses.replace(arch, space="elsewhere")
    assert other == arch and hash(other) == hash(arch) and other.digest() == arch.digest()
    digests = {arch.digest()}
    for path, value in [
        ("qkv_dim", 32),
        ("qkv_dim", "embed"),
        ("encoder.embed_dim", 64),
        ("encoder.ffn_dims.2", 128),
        ("encoder.self_attention_heads.1", 4),
        ("decoder.embed_dim", 96),
        ("decoder.ffn_dims.0", 128),
        ("decoder.self_attention_heads.0", 4),
        ("decoder.cross_attention_heads.1", 2),
        ("decoder.arbitrary_attention.0", 1),
    ]:
        changed_arch = Architecture.from_dict(changed(ARCHITECTURE, path, value))
        assert changed_arch != arch
        digests.add(changed_arch.digest())
    assert len(digests) == 11


def test_lists_are_stored_as_tuples_and_objects_are_frozen(arch):
    assert isinstance(arch.encoder.ffn_dims, tuple)
    for owner, name in ((arch.encoder, "embed_dim"), (arch, "encoder"), (arch, "qkv_dim")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(owner, name, 64)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("qkv_dim", 0, "f.yaml: qkv_dim is 0, expected a positive integer, or embed (the width follows"),
        ("qkv_dim", None, "f.yaml: qkv_dim is None, expected a positive integer, or embed"),
        ("qkv_dim", True, "f.yaml: qkv_dim is True, expected a positive integer, or embed"),
        ("space", 3, "f.yaml: space is 3, expected the name of a search space"),
        ("family", "masked", "f.yaml: family is 'masked', allowed: translation"),
        ("sise", 3, "f.yaml: sise is unknown, the keys are qkv_dim, encoder, decoder, space, family"),
        ("encoder", [1], "f.yaml: encoder is [1], expected a mapping with the keys embed_dim, layers, "),
        ("encoder.embed_dim", "96", "f.yaml: encoder.embed_dim is '96', expected a positive integer"),
        ("encoder.embed_dim", 96.0, "f.yaml: encoder.embed_dim is 96.0, expected a positive integer"),
        ("encoder.embed_dim", True, "f.yaml: encoder.embed_dim is True, expected a positive integer"),
        ("encoder.layers", 2, "f.yaml: encoder.ffn_dims has 3 entries, expected 2: one for each layer"),
        ("encoder.layers", 0, "f.yaml: encoder.layers is 0, expected a positive integer"),
        ("encoder.ffn_dims.1", -1, "f.yaml: encoder.ffn_dims[1] is -1, expected a positive integer"),
        ("encoder.ffn_dims", 256, "f.yaml: encoder.ffn_dims is 256, expected a list with at least one entry"),
        ("encoder.ffn_dims", [], "f.yaml: encoder.ffn_dims is [], expected a list with at least one entry"),
        ("encoder.heads", [4], "f.yaml: encoder.heads is unknown, the keys are embed_dim, layers, ffn_dims"),
        (
            "encoder.self_attention_heads.1",
            3,
            "f.yaml: encoder.self_attention_heads[1] is 3, "
            "allowed: a head count that divides the q/k/v width 64",
        ),
        (
            "decoder.cross_attention_heads.0",
            5,
            "f.yaml: decoder.cross_attention_heads[0] is 5, "
            "allowed: a head count that divides the q/k/v width 64",
        ),
        ("decoder.arbitrary_attention.1", 3, "f.yaml: decoder.arbitrary_attention[1] is 3, allowed: -1, 1, "),
        ("decoder.arbitrary_attention.1", True, "f.yaml: decoder.arbitrary_attention[1] is True, allowed: "),
        (
            "decoder.arbitrary_attention",
            [-1],
            "f.yaml: decoder.arbitrary_attention has 1 entries, expected 2: one for each layer",
        ),
        (
            "encoder",
            {"embed_dim": 96, "layers": 2, "ffn_dims": [64, 64], "self_attention_heads": [4, 4]},
            "f.yaml: decoder.arbitrary_attention[1] is 2, which needs 3 encoder layers, "
            "but encoder.layers is 2",
        ),
    ],
)
def test_wrong_values_are_named(path, value, message):
    with pytest.raises(UserError) as caught:
        Architecture.from_dict(changed(ARCHITECTURE, path, value), "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_heads_are_checked_against_the_side_s_own_width():
    data = changed(ARCHITECTURE, "qkv_dim", "embed")
    Architecture.from_dict(changed(data, "encoder.self_attention_heads.0", 3))
    with pytest.raises(UserError, match=r"decoder.cross_attention_heads\[0\] is 3, .* the q/k/v width 64"):
        Architecture.from_dict(changed(data, "decoder.cross_attention_heads.0", 3))


@pytest.mark.parametrize("key", ["qkv_dim", "encoder", "decoder"])
def test_missing_keys_are_named(key):
    data = {name: value for name, value in ARCHITECTURE.items() if name != key}
    with pytest.raises(UserError, match=f"^f.yaml: {key} is missing, the keys are "):
        Architecture.from_dict(data, "f.yaml")


@pytest.mark.parametrize("key", sorted(ARCHITECTURE["decoder"]))
def test_missing_keys_of_a_side_are_named(key):
    decoder = {name: value for name, value in ARCHITECTURE["decoder"].items() if name != key}
    with pytest.raises(UserError, match=f"^f.yaml: decoder.{key} is missing, the keys are "):
        Architecture.from_dict({**ARCHITECTURE, "decoder": decoder}, "f.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"encoder: [1, 2\n", "malformed YAML in line 2"),
        (b"\xff\xfe\x00", "not a UTF-8 text file"),
        (b"- 1\n- 2\n", "top level is [1, 2], expected a mapping"),
        (b"qkv_dim: 64\nqkv_dim: 32\n", "malformed YAML in line 2: the key qkv_dim stands twice"),
        (b"!!python/object:os.system {}\n", "malformed YAML in line 1"),
        (b"space: 2024-99-99\n", "malformed YAML"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Architecture.load(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(UserError, match="no.yaml: cannot read the architecture: No such file"):
        Architecture.load(tmp_path / "no.yaml")
    with pytest.raises(UserError, match=f"^{tmp_path}: cannot read the architecture: Is a directory"):
        Architecture.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "inline architecture: malformed JSON: "),
        ('{"qkv_dim": 1, "qkv_dim": 2}', "inline architecture: malformed JSON: the key qkv_dim stands twice"),
        ("{}", "inline architecture: qkv_dim is missing, the keys are "),
        (json.dumps(changed(ARCHITECTURE, "qkv_dim", 0)), "inline architecture: qkv_dim is 0, expected "),
    ],
)
def test_bad_inline_json_is_named(text, message):
    with pytest.raises(UserError) as caught:
        Architecture.load(text)
    assert str(caught.value).startswith(message)


def test_saving_to_an_impossible_place_is_a_user_error(arch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        arch.save(tmp_path / "file" / "arch.yaml")
