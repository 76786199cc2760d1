"""`fairseq-mos profile`: supernets, subnets and stock models in the same terms."""

from __future__ import annotations

import argparse
import csv
import json

import pytest
import torch

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cli import main
from fairseq_mos.cost.closed_form import flops, parameters
from tests.fairseq_commands import TINY, run_steps, write_corpus, write_plugin

SHORT = [
    "--runs",
    "4",
    "--warmup",
    "0",
    "--threads",
    "1",
    "--source-tokens",
    "4",
    "--target-tokens",
    "4",
    "--beam",
    "2",
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    data = write_corpus(folder)
    plugin = write_plugin(folder)
    command = ["fairseq-train", str(data), *TINY, "--user-dir", str(plugin), "--max-update", "1"]
    run_steps([[*command, "--save-dir", str(folder / "checkpoints")]], folder)
    return data, folder / "checkpoints" / "checkpoint_last.pt"


def test_a_space(capsys, tmp_path):
    arch = SearchSpace.load("tiny").smallest()
    command = ["profile", "--search-space", "tiny", "--architecture", "smallest", "--vocabulary", "100"]
    assert main([*command, "--output", str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    row = json.loads((tmp_path / "a.json").read_text())
    count = parameters(arch, 100)
    assert (row["params"], row["params_no_embed"], row["flops"]) == (count.total, count.no_embed, flops(arch))
    assert f"{count.total:,}" in out and f"{flops(arch):,}" in out
    with open(tmp_path / "a.csv", newline="") as stream:
        (line,) = csv.DictReader(stream)
    assert {name: str(value) for name, value in row.items()} == line


def test_latency_of_a_space(capsys, tmp_path):
    command = ["profile", "--search-space", "tiny", "--vocabulary", "100", "--latency", *SHORT]
    assert main([*command, "--output", str(tmp_path / "a.json")]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    assert row["median_ms"] > 0 and row["runs"] == 4 and row["latency_beam"] == 2 and row["latency_device"]
    assert "encoder, decoder:" in capsys.readouterr().out


def test_memory_of_a_space(capsys, tmp_path):
    command = ["profile", "--search-space", "tiny", "--architecture", "smallest", "--vocabulary", "100"]
    command += ["--memory", "measure", "--max-tokens", "40", *SHORT]
    assert main([*command, "--output", str(tmp_path / "a.json")]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    for kind in ("training", "decoding"):
        estimated, measured = (row[f"{name}_{kind}_bytes"] for name in ("estimated", "measured"))
        assert measured > 4 * row["params"] and 0.95 < estimated / measured < 1.15
    assert f"{row['measured_training_bytes'] / 2**20:,.1f}  MiB training" in capsys.readouterr().out


def test_weights_that_do_not_fit_the_configuration_are_one_line(stock, tmp_path, capsys):
    data, path = stock
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(path, weights_only=True)
    del state["model"]["encoder.layers.0.fc1.weight"]
    torch.save(state, tmp_path / "broken.pt")
    assert main(["profile", "--path", str(tmp_path / "broken.pt"), "--data", str(data)]) == 2
    err = capsys.readouterr().err
    assert "its weights do not fit its configuration" in err and "encoder.layers.0.fc1.weight" in err
    assert "Traceback" not in err and err.count("\n") == 1


def test_a_stock_transformer(stock, capsys):
    data, path = stock
    assert main(["profile", "--path", str(path), "--data", str(data), "--latency", *SHORT]) == 0
    out = capsys.readouterr().out
    # One layer a side, width and feed-forward width 16.
    attention, ffn, norm = 4 * (16 * 16 + 16), 2 * (16 * 16 + 16), 32
    assert f"{3 * attention + 2 * ffn + 5 * norm:,}" in out
    assert "ms (median of 4" in out
    sentences = ["--latency", "--protocol", "generate", "--sentences", "2", "--gen-subset", "valid"]
    assert main(["profile", "--path", str(path), "--data", str(data), *sentences, *SHORT]) == 0
    assert "protocol:generate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path", "nothing.pt"], "checkpoint nothing.pt does not exist"),
        (["--search-space", "nothing"], "no such file"),
        (["--search-space", "tiny", "--memory", "estimate", "--max-tokens", "5"], "allowed: 30 or more"),
        (["--search-space", "tiny", "--vocabulary", "1"], "--vocabulary is 1"),
        (["--search-space", "tiny", "--runs", "1"], "--runs is 1, allowed: 4 or more"),
        (["--search-space", "tiny", "--precision", "fp16"], "allowed on cpu: fp32, int8"),
        (["--search-space", "tiny", "--latency", "--protocol", "generate"], "give --data"),
        (
            ["--search-space", "tiny", "--latency", "--protocol", "generate", "--data", "nothing"],
            "nothing is no folder",
        ),
    ],
)
def test_mistakes(arguments, message, capsys):
    assert main(["profile", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err


def test_an_architecture_of_a_dense_model_is_refused(stock, capsys):
    assert main(["profile", "--path", str(stock[1]), "--data", str(stock[0]), "--architecture", "largest"]) == 2
    assert "which has one architecture" in capsys.readouterr().err
