"""fairseq's own roberta: the same function without the plugin, and what it cannot express."""

from __future__ import annotations

import sys

import pytest
import torch

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm import stock
from fairseq_mos.models.opening import load_bundle
from tests import fairseq_commands as commands
from tests.families.masked_lm import kit
from tests.families.masked_lm.files import subnet, write_supernet
from tests.supernet_commands import weights

# As somebody has it who knows nothing of the plugin.
WITHOUT = """
import argparse, sys, torch
torch.serialization.add_safe_globals([argparse.Namespace])
from fairseq.models.roberta import RobertaModel
for folder in sys.argv[1:]:
    found = RobertaModel.from_pretrained(folder, "stock.pt", folder, bpe=None).eval()
    tokens = torch.load(f"{folder}/tokens.pt")
    with torch.no_grad():
        scores = [found.model(tokens, classification_head_name=name)[0] for name in (None, "topics")]
    torch.save(scores, f"{folder}/scores.pt")
assert not any(name.startswith("fairseq_mos") for name in sys.modules)
"""


@torch.no_grad()
def test_it_runs_without_the_plugin(tmp_path):
    tokens, expected = kit.tokens(), {}
    real = tokens.ne(1)
    for name, options in (("a", {}), ("b", {"encoder_normalize_before": True, "activation_fn": "relu"})):
        (tmp_path / name).mkdir()
        bundle = subnet(tmp_path / name, "smallest", **options)
        bundle.model.register_classification_head("topics", num_classes=3, inner_dim=10)
        stock.write(bundle, tmp_path / name / "stock.pt")
        torch.save(tokens, tmp_path / name / "tokens.pt")
        topics = bundle.model(tokens, classification_head_name="topics")[0]
        expected[name] = bundle.model(tokens)[0][real], topics
    commands.run([sys.executable, "-c", WITHOUT, *expected], tmp_path)
    for name, answers in expected.items():
        scores, topics = torch.load(tmp_path / name / "scores.pt")
        torch.testing.assert_close((scores[real], topics), answers, rtol=0, atol=1e-5)


def test_the_table_is_there_under_both_names_as_one(tmp_path):
    stock.write(subnet(tmp_path), tmp_path / "stock.pt")
    state = weights(tmp_path / "stock.pt")
    tables = [state[f"encoder.{name}.weight"] for name in ("lm_head", "sentence_encoder.embed_tokens")]
    assert tables[0].data_ptr() == tables[1].data_ptr() and not any("dense_layer" in name for name in state)


def test_the_command_checks_it(tmp_path, capsys):
    path = write_supernet(tmp_path)
    command = ["export", "--path", str(path), "--architecture", "random:2", "--format", "stock"]
    assert main([*command, "--output", str(tmp_path / "stock.pt")]) == 0
    assert "checked: all 100 sentences have the original's scores" in capsys.readouterr().out
    again = load_bundle(tmp_path / "stock.pt")
    assert type(again.model).__name__ == "RobertaModel" and again.family.schema.family == "masked_lm"


def _with_heads_of(head_dim: int) -> SearchSpace:
    return SearchSpace.from_dict({**kit.space().to_dict(), "head_dim": head_dim})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": kit.space(bottlenecks=True)}, r"cannot express bottlenecks around the layers \(encoder.hidden_dims"),
        ({"layer_norm_eps": 1e-12}, "cannot express layer_norm_eps 1e-12, since its own is 1e-05: use"),
        ({"space": _with_heads_of(16)}, r"cannot express 4 heads of 16 in a width of 32 \(head_dim\): use --format sa"),
        (
            {"space": _with_heads_of(16), "layer_norm_eps": 1e-6},
            r"cannot express 4 heads of 16 in a width of 32 \(head_dim\); layer_norm_eps 1e-06",
        ),
    ],
)
def test_what_it_cannot_express_is_named(tmp_path, options, message):
    with pytest.raises(UserError, match=f"--format stock is fairseq's roberta, which {message}") as error:
        stock.to_stock(subnet(tmp_path, **options))
    assert "\n" not in str(error.value)


@torch.no_grad()
def test_heads_of_one_width_that_fill_the_layer_are_no_other_shape(tmp_path):
    bundle = subnet(tmp_path, space=_with_heads_of(8))
    real, found = kit.tokens().ne(1), stock.to_stock(bundle).model(kit.tokens())[0]
    torch.testing.assert_close(found[real], bundle.model(kit.tokens())[0][real], rtol=0, atol=1e-5)
