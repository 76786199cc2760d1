"""The BERT example: its recipe at paper scale, its flags, and a run at toy size."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.fairseq_commands import ROOT, environment

sys.path.insert(0, str(ROOT / "examples"))
from bert import results, text  # noqa: E402
from bert.arguments import parse  # noqa: E402
from corpora import hydra  # noqa: E402
from pipeline.config import PipelineError  # noqa: E402


def test_the_shipped_yaml_says_what_the_page_says():
    page = (ROOT / "docs/bert.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^fairseq-train (.*)$", page, flags=re.M)
    flags = [word.replace("fairseq_mos", str(ROOT / "fairseq_mos")) for word in shlex.split(line)]
    expected = hydra.parse_flags([*flags, "--distributed-world-size", "8"])
    found = yaml.safe_load((ROOT / "configs/train/bert_v5.2_supernet.yaml").read_text())
    for group, options in found.items():
        for name, value in options.items():
            if value != "???" and name != "log_format":
                assert expected[group][name] == value, f"{group}.{name}"
    sentences = found["dataset"]["batch_size"] * found["optimization"]["update_freq"][0] * 8
    assert sentences == 2048 and expected["optimization"]["clip_norm"] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--window", "0.8:0.2"], "--window is '0.8:0.2', allowed: LOW:HIGH"),
        (["--routings", "wide"], "'wide' is not allowed; names of shared, layer, neuron"),
        (["--seeds", "1,x"], "'x' is not allowed"),
        (["--text", "/nowhere"], "--text /nowhere is no folder"),
        (["--updates", "0"], "'0' is not allowed"),
    ],
)
def test_bad_flags_are_one_line(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(flags)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and message in error and error.strip().count("\n") == 0


def test_sentences_are_split_once_each(tmp_path):
    lines = [f"sentence {number}" for number in range(200)]
    (tmp_path / "a.txt").write_text("\n".join([*lines, "", "  sentence   7 ", *lines]))
    counts = text.write_splits(text.files_of(tmp_path, tmp_path), tmp_path / "out")
    assert counts == (196, 4)
    valid = (tmp_path / "out" / "valid.txt").read_text().splitlines()
    assert valid == ["sentence 0", "sentence 50", "sentence 100", "sentence 150"]
    with pytest.raises(PipelineError, match="1 different sentences, expected 100 or more"):
        (tmp_path / "b.txt").write_text("one\n" * 300)
        text.write_splits([tmp_path / "b.txt"], tmp_path / "few")
    with pytest.raises(PipelineError, match="has no"):
        text.files_of(tmp_path / "out" / "none", tmp_path)


def test_the_summary_has_means_and_deviations():
    row = {"subnet": "found", "weights": "neuron", "params_no_embed": 1000, "loss": 3.0}
    found = [{**row, "seed": 1}, {**row, "seed": 2, "loss": 4.0}, {**row, "weights": "scratch", "seed": 1, "loss": 2.5}]
    assert results.summary(found) == [
        ["subnet", "weights", "w/o embeddings", "seeds", "loss"],
        ["found", "neuron", "1,000", "2", "3.500 ± 0.707"],
        ["found", "scratch", "1,000", "1", "2.500"],
    ]


def test_a_run_at_toy_size(tmp_path):
    words = [f"w{number}" for number in range(20)]
    lines = [" ".join(words[start % 20 :] + words[: start % 7]) + f" {start}" for start in range(120)]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    command = [sys.executable, "-m", "bert", "bert", "--text", str(tmp_path / "text"), "--tasks", "none"]
    command += ["--output", str(tmp_path / "run"), "--updates", "4", "--vocabulary", "60", "--threads", "1"]
    path = f"{ROOT}:{ROOT / 'examples'}"
    done = subprocess.run(command, env={**environment(), "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    rows = {(row["subnet"], row["weights"]): row for row in content["rows"]}
    assert set(rows) == {(name, "neuron") for name in ("found", "largest", "smallest")} | {("found", "scratch")}
    assert all(0 < row["loss"] < 10 for row in rows.values())
    sizes = [rows[name, "neuron"]["params_no_embed"] for name in ("smallest", "found", "largest")]
    assert sizes == sorted(sizes)
    assert all((tmp_path / "run" / f"results.{ending}").stat().st_size for ending in ("csv", "md", "png"))
    assert "encoder: width" in (tmp_path / "run" / "report.html").read_text()
    again = subprocess.run(command, env={**environment(), "PYTHONPATH": path}, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("done before") == 6
