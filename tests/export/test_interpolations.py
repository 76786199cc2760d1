"""What a file says is never resolved: a secret of whoever reads it stays out of what he writes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos import hub
from fairseq_mos.errors import UserError
from fairseq_mos.export import shared_folder
from fairseq_mos.export.checkpoint import extract_checkpoint
from fairseq_mos.families.translation import ct2, programs, stock
from fairseq_mos.models.averaging import average_checkpoints
from fairseq_mos.models.content import plain_config
from fairseq_mos.models.opening import load_bundle
from tests.families.translation.test_stock import UNIFORM, _file

SECRET = "correct-horse-battery-staple"
ASKS = "${oc.env:MOS_TEST_SECRET}"


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("MOS_TEST_SECRET", SECRET)


@pytest.fixture(scope="module")
def asking(exportable, tmp_path_factory):
    """A supernet's checkpoint that asks for the secret wherever text, a file or a name may stand."""
    folder = shutil.copytree(exportable.folder, tmp_path_factory.mktemp("asking") / "supernet")
    state = torch.load(folder / "supernet.pt", weights_only=True)
    state["cfg"]["tokenizer"] = {"_name": ASKS}
    for group, name in (
        ("common", "user_dir"),
        ("task", "data"),
        ("task", "eval_bleu_detok"),
        ("criterion", "label_smoothing"),
        ("checkpoint", "save_dir"),
        ("generation", "replace_unk"),
        ("dataset", "gen_subset"),
        ("model", "subnet"),
    ):
        if state["cfg"][group] is None:
            state["cfg"][group] = {}
        state["cfg"][group][name] = f"x{ASKS}"
    torch.save(state, folder / "supernet.pt")
    return folder / "supernet.pt"


def _contents(folder):
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_nothing_that_is_written_holds_a_secret(asking, tmp_path):
    extract_checkpoint(str(asking), "largest", str(tmp_path / "extracted/subnet.pt"))
    average_checkpoints([tmp_path / "extracted/subnet.pt"], tmp_path / "averaged/subnet.pt")
    average_checkpoints([asking], tmp_path / "averaged/supernet.pt")
    bundle = load_bundle(asking, _file(tmp_path, UNIFORM))
    shared_folder.write(bundle, tmp_path / "shared")
    programs.write(bundle, tmp_path / "programs")
    stock.write(bundle, tmp_path / "stock/stock.pt")
    ct2.write(bundle, tmp_path / "ct2")
    shared_folder.write(load_bundle(tmp_path / "extracted/subnet.pt"), tmp_path / "again")
    found = _contents(tmp_path)
    assert {"arch.json", "subnet.pt", "supernet.pt", "stock.pt", "about.json", "step.pt2"} <= found.keys()
    assert not [name for name, content in found.items() if SECRET.encode() in content]
    # Nor does it ask whoever reads it next.
    assert not [name for name, content in found.items() if b"MOS_TEST_SECRET" in content]
    assert len(hub.load(tmp_path / "shared").translate("Hund", beam=1, max_len_a=0, max_len_b=4)) > 0


def test_nothing_in_a_description_is_resolved(exportable, tmp_path):
    calls = []
    OmegaConf.register_new_resolver("mos_test", lambda: calls.append(1) or "1", replace=True)

    def spoiled(value):
        if isinstance(value, dict):
            return {name: spoiled(inner) for name, inner in value.items()}
        return [spoiled(inner) for inner in value] if isinstance(value, list) else "${mos_test:}"

    try:
        bundle = load_bundle(exportable.path, "largest")
        shared_folder.write(bundle, tmp_path / "shared")
        about = json.loads((tmp_path / "shared/arch.json").read_text())
        config = about["config"]
        for group in config:
            if group != "model":
                config[group] = spoiled(config[group])
        # What the weights tell has to stay.
        config["model"].update(spoiled({k: v for k, v in config["model"].items() if not k.startswith("share")}))
        config["more"] = "${mos_test:}"
        (tmp_path / "shared/arch.json").write_text(json.dumps(about))
        again = load_bundle(tmp_path / "shared")
        options = {"beam": 2, "max_len_a": 0, "max_len_b": 6}
        found = hub.of_bundle(again).translate(exportable.sources[:2], **options)
        assert found == hub.of_bundle(bundle).translate(exportable.sources[:2], **options)
        shared_folder.write(again, tmp_path / "third")
        assert "mos_test" not in (tmp_path / "third/arch.json").read_text() and calls == []
    finally:
        OmegaConf.clear_resolver("mos_test")


def test_no_name_is_resolved(exportable, tmp_path):
    """Neither a folder's, which an archive may choose, nor a language's."""
    bundle = load_bundle(exportable.path, "largest")
    shared_folder.write(bundle, tmp_path / ASKS)
    shared_folder.write(bundle, tmp_path / "shared")
    about = json.loads((tmp_path / "shared/arch.json").read_text())
    (tmp_path / "shared/arch.json").write_text(json.dumps({**about, "target_lang": ASKS}))
    shutil.copy(tmp_path / "shared/dict.de.txt", tmp_path / f"shared/dict.{ASKS}.txt")
    for name in (ASKS, "shared"):
        with pytest.raises(UserError, match="could be resolved, which no file may ask for") as caught:
            hub.load(tmp_path / name)
        assert SECRET not in str(caught.value)


def test_plain_values_are_kept():
    cfg = OmegaConf.create({"a": {"b": "${c}", "d": ["x", "${oc.env:HOME}"], "e": "$5 {f}"}, "c": 3, "g": "???"})
    assert plain_config(cfg) == {"a": {"d": ["x"], "e": "$5 {f}"}, "c": 3}
