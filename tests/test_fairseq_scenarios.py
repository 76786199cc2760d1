"""fairseq's own scenarios for translation models, with `mos_transformer` and `mos_subnet` in their place."""

from __future__ import annotations

import sys

import pytest

from tests import fairseq_commands as commands
from tests.supernet_commands import PLUGIN, TRAIN, hypotheses, workspace

SUBNET = [
    *("fairseq-train", "bin", *PLUGIN, "--task", "translation", "--arch", "mos_subnet"),
    *("--subnet", "smallest.yaml", "--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam"),
    *("--lr", "0.005", "--max-tokens", "80", "--max-update", "3", "--cpu", "--log-format", "simple"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = workspace(tmp_path_factory.mktemp("scenarios"))
    commands.run_steps([[*TRAIN, "--save-dir", "full"]], folder)
    extract = [sys.executable, "-m", "fairseq_mos.cli", "extract", "--path", "full/checkpoint_last.pt"]
    commands.run([*extract, "--architecture", "smallest.yaml", "--output", "subnet.pt"], folder)
    return folder


@pytest.mark.parametrize("path", ["full/checkpoint_last.pt", "subnet.pt", "subnet.pt:subnet.pt"])
def test_generation_options(models, path):
    generate = ["fairseq-generate", "bin", *PLUGIN, "--path", path, "--max-tokens", "100", "--cpu"]
    options = {
        "plain": [],
        "sampling": ["--sampling", "--temperature", "2", "--beam", "2", "--nbest", "2"],
        "top-k": ["--sampling", "--sampling-topk", "3", "--beam", "2", "--nbest", "2"],
        "top-p": ["--sampling", "--sampling-topp", "0.2", "--beam", "2", "--nbest", "2"],
        "diverse": ["--diversity-rate", "0.1", "--beam", "6"],
        "groups": ["--diverse-beam-groups", "2", "--beam", "4"],
        "prefix": ["--prefix-size", "2"],
        "alignment": ["--print-alignment", "hard"],
        "one by one": ["--batch-size", "1"],
        "dropout": ["--retain-dropout", "--model-overrides", "{'dropout': 0.5}"],
    }
    expected = {name: 10 if "--nbest" in flags else 5 for name, flags in options.items()}
    outputs = {}
    for name, flags in options.items():
        outputs[name] = commands.run_steps([[*generate, *flags]], models).stdout
        assert len(hypotheses(outputs[name])) == expected[name], name
    aligned = [line for line in outputs["alignment"].splitlines() if line.startswith("A-")]
    assert len(aligned) == 5
    texts = [[line[2] for line in hypotheses(outputs[name])] for name in ("plain", "one by one")]
    assert texts[0] == texts[1]
    assert hypotheses(outputs["dropout"]) != hypotheses(outputs["plain"])


def test_score_reference_is_the_validation_loss(models):
    generate = ["fairseq-generate", "bin", *PLUGIN, "--path", "subnet.pt", "--max-tokens", "100", "--cpu"]
    done = commands.run_steps([[*generate, "--score-reference", "--gen-subset", "valid"]], models)
    positions = [line.split("\t")[1].split() for line in done.stdout.splitlines() if line.startswith("P-")]
    assert len(positions) == 11, "every sentence is scored"
    values = [float(value) for line in positions for value in line]
    nll = -sum(values) / len(values)
    validate = ["fairseq-validate", "bin", *PLUGIN, "--path", "subnet.pt", "--max-tokens", "100", "--cpu"]
    report = commands.run_steps([validate], models)
    line = [part for part in (report.stdout + report.stderr).splitlines() if "nll_loss" in part][-1]
    logged = float(line.split("nll_loss ")[1].split()[0])
    assert nll == pytest.approx(logged, abs=2e-3)


@pytest.mark.parametrize(
    "flags",
    [
        ["--encoder-normalize-before", "--decoder-normalize-before", "--activation-fn", "gelu"],
        ["--update-freq", "3", "--required-batch-size-multiple", "1", "--share-decoder-input-output-embed"],
        ["--store-ema", "--ema-decay", "0.9", "--checkpoint-activations"],
        ["--max-source-positions", "10", "--max-target-positions", "10", "--skip-invalid-size-inputs-valid-test"],
    ],
    ids=lambda flags: flags[0][2:],
)
def test_training_options(models, flags, tmp_path):
    steps = [[*SUBNET, *flags, "--save-dir", str(tmp_path / "subnet")]]
    steps += [[*TRAIN, *flags, "--max-update", "3", "--save-dir", str(tmp_path / "supernet")]]
    for name in ("subnet", "supernet"):
        path = tmp_path / name / "checkpoint_last.pt"
        steps.append(["fairseq-generate", "bin", *PLUGIN, "--path", str(path), "--max-tokens", "100", "--cpu"])
    done = commands.run_steps(steps, models)
    assert len(hypotheses(done.stdout)) == 10
