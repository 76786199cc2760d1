"""GLUE with a model of published size: command lines of every plan are built, parsed and make that model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import MODEL_REGISTRY
from fairseq.tasks.sentence_prediction import SentencePredictionTask

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from glue import starting, units  # noqa: E402
from glue.plan import read_plan  # noqa: E402

from fairseq_mos.arch import SearchSpace  # noqa: E402
from fairseq_mos.cost.measured import count_parameters  # noqa: E402
from fairseq_mos.families import family_of  # noqa: E402
from fairseq_mos.families.masked_lm.texts import made_up_dictionary  # noqa: E402
from fairseq_mos.models.masked_lm_config import MosRobertaSubnetConfig  # noqa: E402

PLANS = {path.stem: path for path in sorted((ROOT / "examples" / "glue" / "plans").glob("*.yaml"))}
TRAIN = {"CoLA": 8551, "SST-2": 67349, "MRPC": 3668, "QQP": 363846, "STS-B": 5749, "MNLI": 392702, "QNLI": 104743}
TRAIN["RTE"] = 2490


@pytest.fixture
def full_size(tmp_path, monkeypatch):
    """The largest subnet of `bert_v5.2`, as `open_start` would read it, and the file of its architecture."""
    monkeypatch.chdir(ROOT)
    arch = SearchSpace.load("bert_v5.2").largest()
    arch.save(tmp_path / "architecture.yaml")
    config = {**vars(MosRobertaSubnetConfig()), "layer_norm_eps": 1e-12, "_name": "mos_roberta_subnet"}
    flags = starting.model_flags(MODEL_REGISTRY["mos_roberta_subnet"], config)
    weights = family_of(arch).counts(arch)["params_no_embed"]
    return starting.Start(
        Path("m.pt"), "m", "mos_roberta_subnet", flags, 512, weights, weights, arch.to_json()
    ), tmp_path


@pytest.mark.parametrize("name", PLANS)
def test_command_lines_of_a_full_size_model_parse(full_size, name):
    start, folder = full_size
    plan = read_plan(PLANS[name])
    for task, examples in TRAIN.items():
        data = units.Data(task, folder / task, "d", examples, 128, {"valid": 1})
        found = units.units_of(plan, data, start, [1], teacher=("t", Path("t.pt")) if task == "MNLI" else None)
        assert len(found) == len(plan.lr) * len(plan.batch) * len(plan.epochs) == {"published": 18}.get(name, 1)
        for unit in (found[0], found[-1]):
            words = units.command_line(unit, folder / "save", folder / "architecture.yaml")
            cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), words))
            lr, batch, epochs = unit.point
            assert (cfg.model._name, cfg.task._name) == ("mos_roberta_subnet", "sentence_prediction")
            assert (cfg.optimization.lr, cfg.dataset.batch_size) == ([lr], batch)
            assert cfg.optimization.max_update == cfg.lr_scheduler.total_num_update == -(-examples // batch) * epochs
            assert cfg.task.num_classes == {"MNLI": 3, "STS-B": 1}.get(task, 2)
            assert cfg.criterion.regression_target == (task == "STS-B")
            assert (cfg.model.dropout, cfg.model.layer_norm_eps, cfg.task.max_positions) == (0.1, 1e-12, 512)
            assert cfg.model.subnet == str(folder / "architecture.yaml")


def test_such_a_command_builds_the_full_size_model(full_size):
    start, folder = full_size
    data = units.Data("MNLI", folder, "d", TRAIN["MNLI"], 128, {"valid": 1})
    unit = units.units_of(read_plan(PLANS["published"]), data, start, [1])[0]
    words = units.command_line(unit, folder / "save", folder / "architecture.yaml")
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), words))
    dictionary = made_up_dictionary(30_522)
    with torch.device("meta"):
        model = SentencePredictionTask(cfg.task, dictionary, dictionary).build_model(cfg.model)
    head = sum(p.numel() for p in model.classification_heads.parameters())
    assert head == 768 * 768 + 768 + 3 * 768 + 3
    # fairseq's two further positions weigh as much as BERT's two token types; the output's bias comes on top.
    assert count_parameters(model).total - head == 109_483_776 + 30_522
    assert start.params_no_embed == 85_056_000


def test_flops_of_a_grid_are_six_a_weight_and_token():
    plan = read_plan(PLANS["published"])
    data = units.Data("RTE", Path("data"), "d", 2496, 128, {"valid": 277})
    # 2,496 is a multiple of both batches: 3 rates, 2 batches, 2 + 3 + 4 epochs, 2 seeds.
    assert units.flops_at_most(plan, data, 1000, 2) == 6 * 1000 * 128 * 2496 * 3 * 2 * 9 * 2
