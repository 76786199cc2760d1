"""Training what an architecture adds, over the frozen weights of a supernet that was trained without it."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch

from fairseq_mos.errors import UserError
from fairseq_mos.models.opening import open_model
from fairseq_mos.modules.kept import Elastic
from fairseq_mos.modules.residuals import is_residual
from tests import fairseq_commands as commands
from tests import supernet_commands as translation
from tests import toy
from tests.families.masked_lm import commands as masked_lm
from tests.families.masked_lm import kit
from tests.supernet_commands import difference, weights

RESIDUAL = ["--routing", "low-rank", "--trainable", "routing", "--modulation", "norms"]


@pytest.fixture(scope="module", params=[translation, masked_lm], ids=["translation", "masked_lm"])
def trained(request, tmp_path_factory):
    """A folder with plain sharing in `shared` and residuals over it in `added`; and the flags of these."""
    module, folder = request.param, tmp_path_factory.mktemp("residuals")
    module.workspace(folder)
    shared = [*module.TRAIN, "--routing", "shared", "--max-update", "4", "--save-dir", "shared"]
    start = ["--finetune-from-model", "shared/checkpoint_last.pt"]
    added = [*module.TRAIN, *RESIDUAL, *start, "--max-epoch", "9", "--weight-decay", "0.1"]
    steps = [shared, [*added, "--max-update", "5", "--save-dir", "added"]]
    steps += [[*added, "--max-update", str(updates), "--save-dir", "parts"] for updates in (2, 5)]
    steps += [[*added, "--max-update", "1", "--lr", "0", "--save-dir", "begun"]]
    done = commands.run_steps(steps, folder)
    return folder, added, done.stdout + done.stderr


def test_shared_weights_stay_and_all_else_is_trained(trained):
    folder, _, log = trained
    before, after = (weights(folder / name / "checkpoint_last.pt") for name in ("shared", "added"))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    added = after.keys() - before.keys()
    begun = weights(folder / "begun" / "checkpoint_last.pt")
    assert added and all(map(is_residual, added))
    assert not any(torch.equal(begun[name], after[name]) for name in added)
    assert f"(num. trained: {sum(after[name].numel() for name in added):,})" in log


def test_it_begins_as_the_supernet_was(trained):
    folder, _, _ = trained
    files = (folder / name / "checkpoint_last.pt" for name in ("begun", "shared"))
    ours, theirs = (open_model(file, str(folder / "bin")) for file in files)
    for arch in (ours.space.largest(), ours.space.smallest()):
        found, wanted = (one.model.extract(arch).state_dict() for one in (ours, theirs))
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_resumed_equals_uninterrupted(trained):
    folder, _, _ = trained
    assert difference(folder / "added/checkpoint_last.pt", folder / "parts/checkpoint_last.pt") == 0


def test_two_ranks_equal_one_process_with_doubled_update_freq(trained, tmp_path):
    folder, added, _ = trained
    for name in ("bin", "shared"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "space.yaml", tmp_path)
    commands.run_steps([[*added, "--max-update", "3", "--update-freq", "2", "--save-dir", "one"]], tmp_path)
    launcher = ["bash", str(commands.ROOT / "examples" / "launch_cpu.sh"), "2"]
    commands.run([*launcher, *added, "--max-update", "3", "--save-dir", "two"], tmp_path)
    assert difference(tmp_path / "one/checkpoint_last.pt", tmp_path / "two/checkpoint_last.pt") < 1e-6


def test_an_extracted_subnet_is_dense_and_all_of_it_is_trained(trained, tmp_path):
    folder, _, _ = trained
    extract = [sys.executable, "-m", "fairseq_mos.cli", "extract", "--path", "added/checkpoint_last.pt"]
    extract += ["--architecture", "smallest", "--data", "bin", "--output", str(tmp_path / "small.pt")]
    assert "low-rank routing" in commands.run(extract, folder).stdout
    found = open_model(tmp_path / "small.pt").model
    assert not any(isinstance(part, Elastic) for part in found.modules())
    assert all(parameter.requires_grad for parameter in found.parameters())


@pytest.mark.parametrize("build", [toy.supernet, kit.supernet], ids=["translation", "masked_lm"])
def test_frozen_weights_stay_frozen_and_subnets_bit_equal(build):
    model = build(routing="low-rank", trainable="routing", modulation="norms")
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    inputs = toy.batch()["net_input"] if build is toy.supernet else {"src_tokens": kit.tokens()}
    for arch in (model.space.largest(), model.space.smallest()):
        subnet = model.extract(arch)
        with torch.no_grad():
            assert torch.equal(model(**inputs)[0], subnet(**inputs)[0])
        assert all(parameter.requires_grad for parameter in subnet.parameters())
    assert frozen == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all(is_residual(name) != (name in frozen) for name, _ in model.named_parameters())


def test_what_is_there_in_part_is_not_completed():
    model = toy.supernet("low-rank", modulation="all")
    state = model.state_dict()
    for name in ("encoder.layers.0.fc1.up", "decoder.layers.0.routing.modulation.hidden.bias"):
        with pytest.raises(RuntimeError, match=name.replace(".", r"\.").replace("fc1", "ffn.fc1")):
            model.load_state_dict({key: tensor for key, tensor in state.items() if key != name})
    # Modulation without differences, and the other way round.
    for kind, options in (("low-rank", {}), ("shared", {"modulation": "all"})):
        model.load_state_dict(toy.supernet(kind, **options).state_dict())


def test_what_cannot_be_trained_is_refused():
    for options in ({"routing": "shared"}, {"routing": "disentangled"}):
        with pytest.raises(UserError, match="--trainable routing leaves nothing to train: it needs --routing low-rank"):
            toy.supernet(trainable="routing", **options)
    with pytest.raises(UserError, match="--trainable routing does not go with --checkpoint-activations"):
        toy.supernet("low-rank", trainable="routing", checkpoint_activations=True)
