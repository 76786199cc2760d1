"""A program of torch.export scores as the network does, in batches and at lengths of any size."""

from __future__ import annotations

import shutil

import pytest
import torch

from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm import programs
from fairseq_mos.models.opening import load_bundle
from tests.families.masked_lm import kit
from tests.families.masked_lm.files import subnet, write_supernet


@pytest.fixture(scope="module", params=[False, True], ids=["homogeneous", "bottlenecks"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    bundle = subnet(folder, "random:3", space=kit.space(request.param), layer_norm_eps=1e-12)
    programs.write(bundle, folder / "out")
    return bundle, load_bundle(folder / "out", trust=True), folder / "out"


@pytest.mark.parametrize(("sentences", "length"), [(3, 9), (1, 1), (2, kit.POSITIONS)])
@torch.no_grad()
def test_scores_and_features(pair, sentences, length):
    tokens = torch.randint(5, kit.VOCABULARY, (sentences, length), generator=torch.Generator().manual_seed(4))
    tokens[-1, 1:] = tokens[-1, 1:].where(torch.arange(1, length) < 4, 1)
    real = tokens.ne(1)
    for options in ({}, {"features_only": True}):
        one, two = (bundle.model(tokens, **options)[0][real] for bundle in pair[:2])
        torch.testing.assert_close(two, one, rtol=0, atol=1e-5)


def test_without_trust_the_network_itself_runs(pair):
    again = load_bundle(pair[2])
    one, two = pair[0].model.state_dict(), again.model.state_dict()
    assert type(again.model) is type(pair[0].model) and one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_command_checks_it(tmp_path, capsys):
    command = ["export", "--path", str(write_supernet(tmp_path)), "--architecture", "smallest", "--sentences", "9"]
    assert main([*command, "--format", "torch-export", "--output", str(tmp_path / "out")]) == 0
    assert "checked: all 9 sentences have the original's scores" in capsys.readouterr().out


def test_what_it_refuses(pair, tmp_path):
    model = pair[1].model
    with pytest.raises(UserError, match="return_all_hiddens needs every layer's output"):
        model(kit.tokens(), return_all_hiddens=True)
    with pytest.raises(UserError, match="programs run in fp32 on the CPU"):
        model.half()
    with pytest.raises(UserError, match="--format torch-export is for mos_roberta_subnet"):
        programs.export(pair[1])
    folder = shutil.copytree(pair[2], tmp_path / "copy")
    (folder / "scores.pt2").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"scores.pt2 cannot be loaded"):
        load_bundle(folder, trust=True)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="holds programs without weights.safetensors"):
        load_bundle(folder)


def test_what_it_costs_is_counted_in_the_network_it_came_from(pair):
    one, two = pair[0].model, pair[1].model.network()
    assert sum(p.numel() for p in two.parameters()) == sum(p.numel() for p in one.parameters())
