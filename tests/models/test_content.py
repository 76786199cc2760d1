"""Whatever a checkpoint holds, loading it runs nothing and ends in a model or in one line."""

from __future__ import annotations

import argparse
import copy
import os

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos.errors import UserError, one_line
from fairseq_mos.models.loading import load_state
from fairseq_mos.models.opening import open_model
from tests.small import small_supernet
from tests.supernet_commands import load


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_supernet(tmp_path_factory.mktemp("content"))


def _open(path):
    return open_model(path).model


def _model(**changes):
    def change(state):
        state["cfg"]["model"].update(changes)

    return change


def _set(place, value):
    def change(state):
        *parents, last = place.split(".")
        for name in parents:
            state = state[name]
        state[last] = value

    return change


def _drop(place):
    def change(state):
        *parents, last = place.split(".")
        for name in parents:
            state = state[name]
        del state[last]

    return change


TABLE = "encoder.embed_tokens.weight"
DEEP: list = []
for _ in range(90):
    DEEP = [DEEP]
BAD = {
    "no cfg": (_set("cfg", None), "has no configuration: expected a checkpoint that fairseq-train wrote"),
    "cfg is text": (_set("cfg", "x"), ""),
    "cfg is a list": (_set("cfg", [1]), ""),
    "no model options": (_drop("cfg.model"), "cfg.model is None"),
    "no task": (_drop("cfg.task"), "cfg.task is None"),
    "task is text": (_set("cfg.task", "translation"), "cfg.task is 'translation'"),
    "task of numbers": (_set("cfg.task.source_lang", 3), "source_lang is 3"),
    "a language that leaves the folder": (_set("cfg.task.source_lang", "../../x"), "source_lang is"),
    "data is a list": (_set("cfg.task.data", [1]), "cfg.task.data"),
    "another model": (_model(_name="fconv"), "is of model 'fconv', allowed: mos_transformer, mos_subnet"),
    "unknown model": (_model(_name="nonsense"), "is of model 'nonsense'"),
    "model name is a number": (_model(_name=3), "is of model 3"),
    "no weights": (_drop("model"), "model is None, expected a mapping of tensors"),
    "weights are numbers": (_set("model", {"a": 1}), "model.'a' is 1, expected a tensor"),
    "weights are a list": (_set("model", [1]), "expected a mapping of tensors"),
    "weights of another model": (_set("model", {"a": torch.zeros(2)}), "is of no translation model: encoder.embed"),
    "integer embeddings": (lambda state: state["model"].update({TABLE: torch.zeros(3, dtype=torch.int64)}), "table"),
    "a scalar embedding": (lambda state: state["model"].update({TABLE: torch.tensor(1.0)}), "expected a table"),
    "sparse": (lambda state: state["model"].update({TABLE: torch.eye(3).to_sparse()}), "no dense tensor"),
    "a tensor is missing": (lambda state: state["model"].popitem(), "do not fit"),
    "another shape": (
        lambda state: state["model"].update({"encoder.layers.0.fc1.weight": torch.zeros(2, 3, 4)}), "not fit|shape"
    ),
    "negative positions": (_model(max_source_positions=-5), "max_source_positions is -5, allowed: 1 to"),
    "huge positions": (_model(max_source_positions=10**11), "max_source_positions is 100000000000"),
    "positions are text": (_model(max_target_positions="many"), "max_target_positions is 'many'"),
    "positions are true": (_model(max_target_positions=True), "max_target_positions is True"),
    "dropout of 2": (_model(dropout=2.0), "dropout is 2.0, allowed: 0 to 1"),
    "dropout nan": (_model(router_dropout=float("nan")), "router_dropout is nan"),
    "no expert": (_model(num_experts=0), "num_experts is 0"),
    "rank of 1e9": (_model(expert_rank=10**9), "expert_rank is 1000000000"),
    "1e9 experts": (_model(num_experts=10**9), "num_experts is 1000000000"),
    "more experts than weights": (_model(num_experts=1000), "configuration asks for|shape"),
    "wide router": (_model(router_hidden_dim=10**12), "router_hidden_dim"),
    "wider router than its weights": (_model(router_hidden_dim=9_999), "shape"),
    "unknown routing": (_model(routing="token"), "routing"),
    "routing is a list": (_model(routing=[1]), "routing"),
    "activation is unknown": (_model(activation_fn="os.system"), "activation_fn"),
    "no space": (_model(search_space_definition="{"), "search space|JSON"),
    "the space is a number": (_model(search_space_definition=7), ""),
    "deep": (_set("cfg.task.deep", DEEP), "deeply"),
    "400 digits": (_set("cfg.task.big", 10**400), "cfg.task.big"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_content_is_one_line(small, tmp_path, name):
    change, message = BAD[name]
    state = copy.deepcopy(load(small.path))
    change(state)
    path = tmp_path / "bad.pt"
    torch.save(state, path)
    for file in small.folder.glob("dict.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=message) as caught:
        _open(path)
    assert str(path) in str(caught.value) and one_line(caught.value) == str(caught.value)


@pytest.mark.parametrize("content", [{}, torch.zeros(2), [1], "x", 3, None, {"model": {}}, {"cfg": {}, "model": {}}])
def test_no_checkpoint_at_all(tmp_path, content):
    path = tmp_path / "bad.pt"
    torch.save(content, path)
    with pytest.raises(UserError, match="bad.pt"):
        _open(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="bad.pt"):
        _open(path)


def test_nothing_is_resolved(small, tmp_path, monkeypatch):
    monkeypatch.setenv("MOS_TEST_SECRET", "hunter2")
    state = copy.deepcopy(load(small.path))
    state["cfg"]["task"]["note"] = "${oc.env:MOS_TEST_SECRET}"
    state["cfg"]["common"]["user_dir"] = "${oc.env:MOS_TEST_SECRET}"
    state["cfg"]["model"]["activation_fn"] = "${oc.env:MOS_TEST_SECRET}"
    torch.save(state, tmp_path / "x.pt")
    cfg = load_state(str(tmp_path / "x.pt"))["cfg"]
    assert cfg.task.note == cfg.model.activation_fn == "${oc.env:MOS_TEST_SECRET}"
    for resolve in (True, False):
        assert "hunter2" not in str(OmegaConf.to_container(cfg, resolve=resolve))
    state["cfg"], state["args"] = None, argparse.Namespace(arch="transformer", data="${oc.env:MOS_TEST_SECRET}")
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError, match="args.data is .*references are not allowed"):
        load_state(str(tmp_path / "x.pt"))


def test_a_name_that_is_code_is_not_run(small, tmp_path):
    witness = tmp_path / "witness"
    code = f"__import__('os').system('touch {witness}')"
    for changes in (
        {"_name": "fconv", "arch": "fconv", "encoder_layers": code, "decoder_layers": code, "decoder_attention": code},
        {"_name": "transformer", "arch": "transformer", "adaptive_softmax_cutoff": code},
        {"_name": "wav2vec2", "conv_feature_layers": code},
        {"activation_fn": code},
    ):
        state = copy.deepcopy(load(small.path))
        state["cfg"]["model"] = {**state["cfg"]["model"], **changes}
        torch.save(state, small.folder / "bad.pt")
        for as_namespace in (False, True):
            if as_namespace:
                state["args"] = argparse.Namespace(task="translation", **state["cfg"]["model"])
                state["cfg"] = None
                torch.save(state, small.folder / "bad.pt")
            with pytest.raises(UserError):
                _open(small.folder / "bad.pt")
    os.remove(small.folder / "bad.pt")
    assert not witness.exists()


def test_tasks_with_a_namespace_for_their_configuration(small, tmp_path):
    """As `translation_multi_simple_epoch` and other tasks of the old kind leave it in checkpoints."""
    state = copy.deepcopy(load(small.path))
    task = state["cfg"]["task"]
    state["cfg"]["task"] = argparse.Namespace(**{**task, "_name": "translation_multi_simple_epoch"})
    torch.save(state, small.folder / "namespace.pt")
    loaded = load_state(str(small.folder / "namespace.pt"))
    assert loaded["cfg"].task.get("source_lang") == "en"
    model = _open(small.folder / "namespace.pt")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in _open(small.path).parameters())
