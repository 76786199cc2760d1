"""Folders of strangers: nothing in them runs, unless the user says that he trusts them."""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import shutil
import zipfile

import pytest
import torch

from fairseq_mos import hub
from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.export.programs import WEIGHTS
from fairseq_mos.families.translation import programs
from fairseq_mos.models.opening import load_bundle
from tests.fairseq_commands import ROOT

_CONFIG = "archive/data/{0}/model_{0}_config.json"
_SHORT = {"max_len_a": 0, "max_len_b": 5}


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


def _saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _expression(files: dict[str, bytes], sentinel: str) -> None:
    """An expression in the model's JSON, which sympy evaluates."""
    graph = files["archive/models/model.json"].decode()
    code = json.dumps(f"__import__('pathlib').Path('{sentinel}').touch()")
    place = graph.index('"expr_str": ') + len('"expr_str": ')
    _, end = json.JSONDecoder().raw_decode(graph[place:])
    files["archive/models/model.json"] = (graph[:place] + code + graph[place + end :]).encode()


def _guards(files: dict[str, bytes], sentinel: str) -> None:
    """Code that guards the program's inputs."""
    graph = json.loads(files["archive/models/model.json"])
    graph["guards_code"] = [f"__import__('pathlib').Path('{sentinel}').touch() is None"]
    files["archive/models/model.json"] = json.dumps(graph).encode()


def _sample_inputs(files: dict[str, bytes], sentinel: str) -> None:
    files["archive/data/sample_inputs/model.pt"] = _saved(_Touch(sentinel))


def _pickled_weight(files: dict[str, bytes], sentinel: str) -> None:
    config = json.loads(files[_CONFIG.format("weights")])
    weight = config["config"]["embed.tokens.weight"]
    weight["use_pickle"] = True
    files[_CONFIG.format("weights")] = json.dumps(config).encode()
    files[f"archive/data/weights/{weight['path_name']}"] = _saved(_Touch(sentinel))


def _opaque_constant(files: dict[str, bytes], sentinel: str) -> None:
    from torch.export.pt2_archive.constants import OPAQUE_OBJ_FILENAME_PREFIX

    name = f"{OPAQUE_OBJ_FILENAME_PREFIX}0"
    entry = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
    files[_CONFIG.format("constants")] = json.dumps({"config": {"evil": entry}}).encode()
    files[f"archive/data/constants/{name}"] = pickle.dumps(_Touch(sentinel))


_VECTORS = (_expression, _guards, _sample_inputs, _pickled_weight, _opaque_constant)


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory) -> pathlib.Path:
    """An honest folder of programs."""
    folder = tmp_path_factory.mktemp("honest") / "programs"
    programs.write(load_bundle(small.path, "random:4"), folder)
    return folder


@pytest.fixture(params=_VECTORS, ids=lambda vector: vector.__name__.strip("_"))
def evil(request, folder, tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
    """A folder whose programs make a file, and that file."""
    copy, sentinel = shutil.copytree(folder, tmp_path / "evil"), tmp_path / "sentinel"
    for name in (programs.ENCODE, programs.MEMORY, programs.STEP):
        with zipfile.ZipFile(copy / name) as archive:
            files = {entry: archive.read(entry) for entry in archive.namelist()}
        if "archive/models/model.json" not in files:
            pytest.skip("this torch writes other archives")
        try:
            request.param(files, str(sentinel))
        except (ImportError, KeyError) as error:
            if name == programs.ENCODE:
                pytest.skip(f"this torch's archives do not know that: {error}")
        with zipfile.ZipFile(copy / name, "w") as archive:
            for entry, content in files.items():
                archive.writestr(entry, content)
    return copy, sentinel


def test_loading_such_programs_would_run_it(evil):
    """Else the next test could not fail."""
    folder, sentinel = evil
    try:
        interface = hub.load(folder, trust=True)
        interface.translate("Hund", beam=1, **_SHORT)
    except Exception:  # of torch, after it has run the code
        pass
    assert sentinel.exists()


def test_nothing_of_a_folder_runs(evil, small, folder, tmp_path, capsys):
    evil_folder, sentinel = evil
    expected = hub.load(folder, trust=True).translate(small.sources[:3], beam=2, **_SHORT)
    for interface in (
        hub.load(evil_folder),
        torch.hub.load(str(ROOT), "mos_subnet", source="local", checkpoint=evil_folder, trust_repo=True),
    ):
        assert interface.translate(small.sources[:3], beam=2, **_SHORT) == expected
        assert len(interface.sample(small.sources[:3], sampling=True, **_SHORT)) == 3
        assert interface.score("Hund", "Hund")["score"] < 0
    evaluate = ["evaluate", "--path", str(evil_folder), "--test-set", str(small.folder / "test"), "--cpu"]
    assert main([*evaluate, "--beam", "1", "--bootstrap", "0", "--output", str(tmp_path / "scores")]) == 0
    for form, output in (("safetensors", "shared"), ("fairseq", "a/subnet.pt")):
        export = ["export", "--path", str(evil_folder), "--format", form, "--output", str(tmp_path / output)]
        assert main([*export, "--sentences", "2"]) == 0
    one, two = (load_bundle(tmp_path / name).model.state_dict() for name in ("shared", "a/subnet.pt"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert not sentinel.exists()


def test_every_folder_can_be_evaluated(folder, small, tmp_path):
    """With and without trust; parameters and FLOPs are those of the network."""
    rows = {}
    evaluate = ["evaluate", "--test-set", str(small.folder / "test"), "--cpu", "--beam", "2", "--bootstrap", "0"]
    for name, arguments in (("network", []), ("programs", ["--trust"])):
        output = tmp_path / name
        latency = ["--latency", "--runs", "4", "--threads", "1"]
        assert main([*evaluate, "--path", f"x={folder}", *arguments, *latency, "--output", str(output)]) == 0
        rows[name] = json.loads((output / "scores.json").read_text())[0]
        rows[name]["text"] = (output / "translations/x.test.txt").read_text()
    counted = {name: {k: row["costs"][k] for k in ("params", "params_no_embed", "flops")} for name, row in rows.items()}
    bundle = load_bundle(small.path, "random:4")
    assert counted["network"] == counted["programs"]
    assert counted["programs"]["params"] == sum(p.numel() for p in bundle.model.parameters())
    assert all(row["costs"]["latency_ms"] > 0 for row in rows.values())
    assert rows["network"]["text"] == rows["programs"]["text"]


def test_a_folder_of_programs_alone(folder, tmp_path, capsys):
    """As earlier versions wrote them."""
    old = shutil.copytree(folder, tmp_path / "old")
    (old / WEIGHTS).unlink()
    message = r"old holds programs without weights.safetensors, .* run any code: export it anew, or .* trust=True"
    with pytest.raises(UserError, match=message):
        load_bundle(old)
    assert hub.load(old, trust=True).translate("Hund", beam=1, **_SHORT)
    export = ["export", "--path", str(old), "--format", "fairseq", "--output", str(tmp_path / "subnet.pt")]
    assert main(export) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "export it anew" in err and not (tmp_path / "subnet.pt").exists()
