"""Files of weights: each way in which one does not fit its arch.json is one line, before anything is built."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairseq_mos.errors import UserError
from fairseq_mos.export import shared_folder
from fairseq_mos.families.translation import programs
from fairseq_mos.models.opening import load_bundle

FC1 = "encoder.layers.0.fc1.weight"


@pytest.fixture(scope="module", params=["model.safetensors", "weights.safetensors"])
def given(request, small, tmp_path_factory):
    """A folder of either format, and the file with its weights."""
    folder = tmp_path_factory.mktemp("weights") / "out"
    writer = shared_folder if request.param.startswith("model") else programs
    writer.write(load_bundle(small.path, "random:5"), folder)
    return folder, request.param


def _changed(change):
    def spoil(file):
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return spoil


def _header(change):
    """Changes the file's header, which names each tensor's type, shape and place."""

    def spoil(file):
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_changed(lambda t: t.pop(FC1)), f"does not fit .*arch.json: {FC1} is missing"),
        (_changed(lambda t: t.update({FC1: t[FC1][1:]})), rf"{FC1} is float32 \(31, 24\), expected float32 \(32, 24\)"),
        (_changed(lambda t: t.update({FC1: t[FC1].long()})), rf"{FC1} is int64 \(\d+, 24\), expected float32 "),
        (_changed(lambda t: t.update({FC1: t[FC1].half()})), rf"{FC1} is float16 \(\d+, 24\), expected float32 "),
        (_changed(lambda t: t.update(more=torch.zeros(1))), "does not fit .*: 'more' is no part of the network"),
        (
            _changed(lambda t: t.update({"encoder.embed_tokens.weight": torch.tensor(1.0)})),
            r"encoder.embed_tokens.weight is of shape \(\), expected a table of entries by width",
        ),
        (_changed(lambda t: t.clear()), "embed_tokens.weight is missing"),
        (lambda file: file.write_bytes(b""), "is damaged: "),
        (lambda file: file.write_bytes(file.read_bytes()[:-4]), "is damaged: "),
        (lambda file: file.write_bytes(b"\xff" * 100), "is damaged: "),
        (_header(lambda h: h[FC1].update(dtype="X")), "is damaged: "),
        (_header(lambda h: h[FC1].update(shape=[2**62, 4])), "is damaged: "),
        (_header(lambda h: h[FC1].update(data_offsets=[0, 2**60])), "is damaged: "),
        (lambda file: (file.unlink(), file.mkdir()), "cannot read |holds programs without "),
    ],
)
def test_weights_that_do_not_fit(given, tmp_path, spoil, message):
    folder = shutil.copytree(given[0], tmp_path / "copy")
    spoil(folder / given[1])
    with pytest.raises(UserError, match=message) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value) and given[1] in str(caught.value)


@pytest.mark.parametrize("width", [10**6, 2**50, 2**70])
def test_an_architecture_of_other_sizes_takes_no_memory(given, tmp_path, width):
    folder = shutil.copytree(given[0], tmp_path / "copy")
    about = json.loads((folder / "arch.json").read_text())
    encoder = about["architecture"]["encoder"]
    encoder["ffn_dims"] = [width * 1000] * len(encoder["ffn_dims"])
    (folder / "arch.json").write_text(json.dumps(about))
    reasons = "encoder.layers.0.fc1.weight is|architecture: .*expected at most|malformed JSON: a number with"
    with pytest.raises(UserError, match=rf"arch.json: ({reasons})"):
        load_bundle(folder)


def test_formats_do_not_replace_each_other(given, small):
    folder, name = given
    other = programs if name.startswith("model") else shared_folder
    with pytest.raises(UserError, match="which is not of this format"):
        other.write(load_bundle(small.path, "random:5"), folder)
    assert load_bundle(folder / name).model.architecture == load_bundle(small.path, "random:5").model.architecture
