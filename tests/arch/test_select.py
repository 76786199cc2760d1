from __future__ import annotations

import json
import random

import pytest

from fairseq_mos.arch import Architecture, SearchSpace, resolve
from fairseq_mos.errors import UserError
from tests.arch.samples import ARCHITECTURE, changed


@pytest.fixture
def tiny() -> SearchSpace:
    return SearchSpace.load("tiny")


def test_words_files_inline_and_shipped_names(tiny, tmp_path):
    arch = Architecture.from_dict(ARCHITECTURE)
    arch.save(tmp_path / "a.yaml")
    assert resolve(tiny, "largest") == tiny.largest()
    assert resolve(tiny, "smallest") == tiny.smallest()
    assert resolve(tiny, "random:12") == tiny.sample(random.Random(12)) != resolve(tiny, "random:13")
    assert resolve(tiny, str(tmp_path / "a.yaml")) == arch
    assert resolve(tiny, arch.to_json()) == arch
    name = "hat/wmt14ende_titanxp_57.1ms_bleu_25.8"
    assert resolve(SearchSpace.load("wmt"), name).decoder.layers == 1


@pytest.mark.parametrize("seed", ["x", "", "-1", "1.5", "1_0", " 1", "²"])
def test_bad_seeds_are_named(tiny, seed):
    with pytest.raises(UserError) as caught:
        resolve(tiny, f"random:{seed}")
    assert str(caught.value) == f"architecture 'random:{seed}': the seed is '{seed}', expected 0, 1, 2, ..."


def test_unknown_text_is_named(tiny):
    with pytest.raises(UserError) as caught:
        resolve(tiny, "biggest")
    assert str(caught.value) == (
        "architecture 'biggest': no such file, expected largest, smallest, random:SEED, a YAML file, "
        "inline JSON or the name of a shipped architecture"
    )


def test_what_the_space_does_not_hold_is_named(tiny, tmp_path):
    path = tmp_path / "a.yaml"
    Architecture.from_dict(changed(ARCHITECTURE, "decoder.ffn_dims.0", 100)).save(path)
    with pytest.raises(UserError) as caught:
        resolve(tiny, str(path))
    assert str(caught.value) == (
        f"{path}: decoder.ffn_dims[0] is 100, but search space 'tiny' allows 256, 128, 64"
    )
    with pytest.raises(UserError, match="^inline architecture: qkv_dim is 32, but .* allows 64$"):
        resolve(tiny, json.dumps(changed(ARCHITECTURE, "qkv_dim", 32)))
    with pytest.raises(UserError, match=r"25.8.yaml: qkv_dim is 512, .* \(it was made for .* 'wmt'\)$"):
        resolve(tiny, "hat/wmt14ende_titanxp_57.1ms_bleu_25.8")
