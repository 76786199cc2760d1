"""`fairseq-mos latency-dataset` and `fit-latency`, with a meter that counts parameters instead of time."""

from __future__ import annotations

import csv
import json

import pytest

from fairseq_mos.cli import main
from fairseq_mos.cost import latency
from fairseq_mos.cost.predictor import LatencyPredictor


class Meter:
    """Milliseconds from the number of parameters; every fifth measurement is 5 % slower."""

    calls = 0

    def __init__(self, settings):
        pass

    def measure(self, model):
        Meter.calls += 1
        seconds = sum(p.numel() for p in model.parameters()) / 1e7 * (1.05 if Meter.calls % 5 == 0 else 1.0)
        return latency.Latency.of_runs([seconds] * 4, 0.1)


@pytest.fixture
def verbs(monkeypatch, tmp_path, capsys):
    """Returns a function that runs `latency-dataset` (or another verb) and gives exit code, output and errors."""
    monkeypatch.setattr(latency, "LatencyMeter", Meter)
    Meter.calls = 0

    def run(samples, *more, path=tmp_path / "a.jsonl"):
        space = ["--search-space", "tiny", "--vocabulary", "50", "--threads", "1"]
        command = ["latency-dataset", *space, "--samples", str(samples), "--output", str(path), *more]
        return (main(command), *capsys.readouterr())

    return run


def test_measured_then_fitted(verbs, tmp_path, capsys):
    code, out, _ = verbs(60)
    path, output = tmp_path / "a.jsonl", tmp_path / "p.json"
    assert code == 0 and Meter.calls == 66 and "reference measured 6 times" in out
    assert f"fairseq-mos fit-latency --dataset {path} --output" in out
    facts = json.loads((tmp_path / "a.jsonl.summary.json").read_text())
    assert facts["architectures"] == 60 and facts["signature"]["vocabulary"] == 50 and facts["noise"] is not None
    assert main(["fit-latency", "--dataset", str(path), "--output", str(output), "--model", "linear"]) == 0
    out = capsys.readouterr().out
    assert "model linear: MAPE" in out and "exact predictions would reach a Kendall tau of" in out
    predictor = LatencyPredictor.load(output)
    with open(tmp_path / "p.heldout.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    errors = [abs(float(row["predicted_ms"]) / float(row["measured_ms"]) - 1) for row in rows]
    assert len(rows) == predictor.errors.architectures == 6
    assert predictor.errors.mape == pytest.approx(100 * sum(errors) / 6)
    # A fifth of the measurements are off by 5 %.
    assert predictor.errors.mape < 5


def test_a_cut_file_is_continued_and_a_finished_one_extended(verbs, tmp_path):
    assert verbs(14)[0] == 0
    path = tmp_path / "a.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:8]) + lines[8][:30])
    Meter.calls = 0
    assert verbs(14)[0] == 0
    assert Meter.calls == 16 - 7 and len(path.read_bytes().splitlines()) == len(lines) == 17
    assert verbs(20)[0] == 0 and len(path.read_bytes().splitlines()) == 1 + 22


def test_too_few_to_know_the_noise(verbs, tmp_path):
    code, out, _ = verbs(5)
    assert code == 0 and "the noise is unknown" in out and "nan" not in out
    facts = json.loads((tmp_path / "a.jsonl.summary.json").read_text(), parse_constant=pytest.fail)
    assert facts["noise"] is None and facts["drift"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seed", "2"], "its seed is 1, now it is 2"),
        (["--beam", "4"], "its settings.beam is 5, now it is 4; give"),
        (["--vocabulary", "60"], "its settings.vocabulary is 50, now it is 60; give"),
        (["--threads", "2"], "its settings.threads is 1, now it is 2; give"),
        (["--protocol", "generate"], "--protocol generate is not available here, allowed: hat"),
        (["--runs", "3"], "--runs is 3, allowed: 4 or more"),
    ],
)
def test_mistakes_are_one_line(verbs, more, message):
    assert verbs(3)[0] == 0
    code, out, err = verbs(3, *more)
    line = [line for line in err.replace("\r", "\n").splitlines() if "error" in line]
    assert code == 2 and out == "" and len(line) == 1 and message in line[0]


def test_data_that_cannot_be_fitted(verbs, tmp_path, capsys):
    verbs(3)
    for data, message in (("a.jsonl", "3 measured architectures are too few"), ("none.jsonl", "cannot read")):
        command = ["fit-latency", "--dataset", str(tmp_path / data), "--output", str(tmp_path / "p.json")]
        assert main(command) == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "p.json").exists()
