"""`fairseq-mos profile`: supernets, subnets and stock models in the same terms."""

from __future__ import annotations

import argparse
import csv
import json

import pytest
import torch

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cli import main
from fairseq_mos.families.translation.costs import flops, parameters
from fairseq_mos.version import __version__
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
    versions = {"torch": torch.__version__.split("+")[0], "fairseq_mos": __version__}
    signature = {"source_tokens": 30, "target_tokens": 30, "source_vocabulary": 100, "target_vocabulary": 100}
    signature.update(shared_embeddings="all", **versions)
    assert {name: row[name] for name in signature} == signature
    assert "signature: " + "|".join(f"{name}:{value}" for name, value in signature.items()) + "\n" in out


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_lengths_and_sharing_are_part_of_the_signature(share, capsys, tmp_path):
    command = ["profile", "--search-space", "tiny", "--vocabulary", "100", "--share", share, "--target-tokens", "7"]
    assert main([*command, "--output", str(tmp_path / "a.json")]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    assert (row["shared_embeddings"], row["source_tokens"], row["target_tokens"]) == (share, 30, 7)
    assert row["flops"] == flops(SearchSpace.load("tiny").largest(), 30, 7)


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
    assert (row["memory_beam"], row["memory_max_tokens"]) == (2, 40) and row["memory_device"]
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


def test_generate_measures_without_being_asked_twice(stock, capsys, tmp_path):
    data, path = stock
    command = ["profile", "--path", str(path), "--data", str(data), "--protocol", "generate", "--sentences", "2"]
    assert main([*command, "--gen-subset", "valid", "--output", str(tmp_path / "a.json"), *SHORT]) == 0
    assert "ms (median of 4, per sentence of 2 of split 'valid'; quartiles" in capsys.readouterr().out
    row = json.loads((tmp_path / "a.json").read_text())
    assert row["median_ms"] > 0 and row["latency_protocol"] == "generate" and row["latency_per"] == "sentence"
    assert (row["latency_data"], row["latency_split"], row["latency_sentences"]) == (str(data), "valid", 2)
    assert (row["source_vocabulary"], row["shared_embeddings"]) == (40, "none")


@pytest.mark.parametrize("protocol", ["hat", "generate"])
def test_int8_of_a_stock_transformer(stock, capsys, protocol):
    data, path = stock
    command = ["profile", "--path", str(path), "--data", str(data), "--latency", "--precision", "int8", *SHORT]
    assert main([*command, "--protocol", protocol, "--sentences", "2"]) == 0
    assert f"latency_protocol:{protocol}|" in capsys.readouterr().out


def test_dictionaries_of_unknown_languages(stock, tmp_path, capsys):
    assert main(["profile", "--path", str(stock[1]), "--data", str(tmp_path / "nodir")]) == 2
    err = capsys.readouterr().err
    assert (
        f"{stock[1]} does not say its languages, and {tmp_path / 'nodir'} is no folder that fairseq-preprocess" in err
    )
    assert err.count("\n") == 1 and "None" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path", "nothing.pt"], "checkpoint nothing.pt does not exist"),
        (["--search-space", "nothing"], "no such file"),
        (["--search-space", "tiny", "--memory", "estimate", "--max-tokens", "5"], "allowed: 30 or more"),
        (["--search-space", "tiny", "--vocabulary", "1"], "--vocabulary is 1"),
        (["--search-space", "tiny", "--runs", "1"], "--runs is 1, allowed: 4 to"),
        (["--search-space", "tiny", "--precision", "fp16"], "allowed on cpu: fp32, int8"),
        (["--search-space", "tiny", "--latency", "--protocol", "generate"], "give --data"),
        (["--search-space", "tiny", "--protocol", "generate"], "give --data"),
        (["--search-space", "tiny", "--output", "a.csv"], "--output is a.csv, allowed: a file that ends in .json"),
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
