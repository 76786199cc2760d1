"""COMET's real loading and prediction, with a tiny untrained model in a local folder.

Needs an environment with unbabel-comet: MOS_COMET_PYTHON=comet-env/bin/python bash tests/run.sh tests/metrics
"""

from __future__ import annotations

import os

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.neural import comet_scores
from tests.fairseq_commands import run
from tests.small import TEXT, sentences

PYTHON = os.environ.get("MOS_COMET_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="MOS_COMET_PYTHON names no environment with unbabel-comet")

MAKE = """
import os, sys, torch, yaml
from comet.models import RegressionMetric
from transformers import BertConfig, BertModel, BertTokenizerFast
folder, words = sys.argv[1], sys.argv[2].split()
base = os.path.join(folder, "bert")
os.makedirs(base)
tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(words))]
with open(os.path.join(base, "vocab.txt"), "w", encoding="utf-8") as stream:
    stream.write("".join(token + chr(10) for token in tokens))
BertTokenizerFast(os.path.join(base, "vocab.txt"), do_lower_case=False).save_pretrained(base)
torch.manual_seed(1)
BertModel(BertConfig(len(tokens), 16, 2, 2, 32)).save_pretrained(base)
model = RegressionMetric(encoder_model="BERT", pretrained_model=base, layer="mix", hidden_sizes=[8])
os.makedirs(os.path.join(folder, "checkpoints"))
state = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
torch.save({**state, "pytorch-lightning_version": "2.0.0"}, os.path.join(folder, "checkpoints", "model.ckpt"))
with open(os.path.join(folder, "hparams.yaml"), "w") as stream:
    yaml.safe_dump({**dict(model.hparams), "class_identifier": "regression_metric"}, stream)
"""


def test_a_tiny_model(tmp_path):
    model = tmp_path / "model"
    run([PYTHON, "-I", "-c", MAKE, str(model), TEXT], tmp_path)
    sources, references = sentences(8, 1), sentences(8, 2)
    systems = {"a": references, "b": sentences(8, 3), "again": references}
    found = comet_scores(sources, systems, references, str(model), PYTHON)
    assert found["a"].score == found["again"].score != found["b"].score
    assert found["a"].signature.startswith(f"model:{model}|comet:2.")
    with pytest.raises(UserError, match=r"COMET \(.*nothing\): .* holds no checkpoints/model.ckpt"):
        (tmp_path / "nothing").mkdir()
        comet_scores(sources, systems, references, str(tmp_path / "nothing"), PYTHON)
