"""`fairseq-mos latency-dataset` and `fit-latency`, with a meter that counts parameters instead of time."""

from __future__ import annotations

import csv
import json
import shlex
import statistics
from dataclasses import asdict

import pytest

from fairseq_mos.cli import build_parser, main
from fairseq_mos.cost import latency
from fairseq_mos.cost.dataset import read_dataset
from fairseq_mos.cost.predictor import LatencyPredictor, Reference
from fairseq_mos.families.translation.costs import parameters
from fairseq_mos.version import __version__
from tests.arch.samples import mini


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

    def run(samples, *more, path=tmp_path / "a.jsonl", space="tiny"):
        space = ["--search-space", str(space), "--vocabulary", "50", "--threads", "1"]
        command = ["latency-dataset", *space, "--samples", str(samples), "--output", str(path), *more]
        return (main(command), *capsys.readouterr())

    return run


def test_measured_then_fitted(verbs, tmp_path, capsys):
    code, out, _ = verbs(60)
    path, output = tmp_path / "a.jsonl", tmp_path / "p.json"
    assert code == 0 and Meter.calls == 66 and "reference measured 6 times" in out
    assert f"fairseq-mos fit-latency --dataset {path} --output" in out and "1 thread, fp32" in out
    assert f"wrote {path}, {path}.summary.json, {path}.csv" in out
    with open(f"{path}.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60 and "|threads:1|" in rows[0]["signature"] and "|vocabulary:50|" in rows[0]["signature"]
    facts = json.loads((tmp_path / "a.jsonl.summary.json").read_text())
    assert facts["architectures"] == 60 and facts["signature"]["vocabulary"] == 50 and facts["noise"] is not None
    assert main(["fit-latency", "--dataset", str(path), "--output", str(output), "--model", "linear"]) == 0
    out = capsys.readouterr().out
    assert "model linear: MAPE" in out and "exact predictions would reach a Kendall tau of" in out
    predictor = LatencyPredictor.load(output)
    recorded = json.loads((tmp_path / "a.jsonl.summary.json").read_text())["reference_ms"]
    assert predictor.reference() == Reference(predictor.space.largest(), recorded)
    with open(tmp_path / "p.heldout.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    errors = [abs(float(row["predicted_ms"]) / float(row["measured_ms"]) - 1) for row in rows]
    assert len(rows) == predictor.errors.architectures == 6
    assert predictor.errors.mape == pytest.approx(100 * sum(errors) / 6)
    # A fifth of the measurements are off by 5 %.
    assert predictor.errors.mape < 5
    assert all("|model:linear|seed:1|" in row["signature"] for row in rows)
    written = json.loads((tmp_path / "p.errors.json").read_text(), parse_constant=pytest.fail)
    assert {name: written[name] for name in asdict(predictor.errors)} == asdict(predictor.errors)
    assert written["fastest_ms"] == min(float(row["measured_ms"]) for row in rows)
    assert written["slowest_ms"] == max(float(row["measured_ms"]) for row in rows)
    assert written["noise"] > 0 and 0 < written["kendall_tau_ceiling"] < 1 and written["dataset"] == str(path)
    assert written["signature"]["threads"] == 1 and written["signature"]["fairseq_mos"] == __version__
    middle = statistics.median(predictor.data.milliseconds)
    next_ = out.splitlines()[-1].strip()
    assert shlex.split(next_) == [
        *("fairseq-mos", "search", "DATA", "--path", "SUPERNET", "--latency-predictor", str(output), "--threads", "1"),
        *("--constraint", f"latency_ms<={middle:.4g}", "--output", str(tmp_path / "search")),
    ]
    build_parser("search").parse_args(shlex.split(next_)[1:])


def test_the_next_command_knows_supernet_and_data(verbs, tmp_path, capsys):
    assert verbs(30)[0] == 0
    path = tmp_path / "a.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    header = {**json.loads(first), "supernet": "my net/best.pt", "data": "data-bin"}
    path.write_text("".join([json.dumps(header) + "\n", *others]))
    assert main(["fit-latency", "--dataset", str(path), "--output", str(tmp_path / "p.json"), "--model", "linear"]) == 0
    assert "fairseq-mos search data-bin --path 'my net/best.pt' --latency-predictor" in capsys.readouterr().out


def test_three_passes_keep_the_lowest_and_report_the_drift(verbs, monkeypatch, tmp_path):
    """The first pass is 20 % slower, and so is every second measurement of the second."""

    def measure(self, model):
        Meter.calls += 1
        slow = Meter.calls <= 22 or (Meter.calls <= 44 and Meter.calls % 2 == 0)
        seconds = sum(p.numel() for p in model.parameters()) / 1e7 * (1.2 if slow else 1.0)
        return latency.Latency.of_runs([seconds] * 4, 0.1)

    monkeypatch.setattr(Meter, "measure", measure)
    path = tmp_path / "a.jsonl"
    code, out, _ = verbs(20, "--passes", "3")
    assert code == 0 and Meter.calls == 3 * 22
    data = read_dataset(path)
    # Tables of 50 words of the wider side's width are part of these models.
    exact = [1e3 * parameters(arch, 50).total / 1e7 for arch in data.architectures]
    assert len(exact) == 20 and data.milliseconds == pytest.approx(exact)
    facts = json.loads((tmp_path / "a.jsonl.summary.json").read_text())
    assert facts["noise"] == pytest.approx(0) and facts["reference_measurements"] == 6
    # The reference, in time: three slow or half slow ones, then three that are not.
    assert facts["drift"] == pytest.approx(1 / 1.2 - 1)
    assert facts["slowest_ms"] == facts["reference_ms"] == pytest.approx(max(exact))
    assert "reference measured 6 times" in out and "drift -16.7%" in out
    assert "the machine was not quiet" in out and "--passes 5" in out
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:50]) + lines[50][:9])
    assert verbs(20, "--passes", "3")[0] == 0 and Meter.calls == 66 + 17
    assert read_dataset(path).milliseconds == pytest.approx(exact)


def test_a_space_smaller_than_asked(verbs, tmp_path):
    small = mini(encoder__layers=[1], encoder__ffn_dims=[16], decoder__layers=[1], decoder__ffn_dims=[16])
    small.save(tmp_path / "small.yaml")
    code, out, err = verbs(30, "--passes", "2", space=tmp_path / "small.yaml")
    assert code == 0 and "16 architectures of search space 'mini'" in out
    assert "--samples is 30, but no more architectures were found in this space" in out
    assert "36/36" in err and "/66" not in err


def test_a_file_of_something_else_is_left_as_it_is(verbs, tmp_path):
    path = tmp_path / "notes.jsonl"
    for content in (b"PK\x03\x04\n\x80weights", b"one line without an end"):
        path.write_bytes(content)
        code, _, err = verbs(3, path=path)
        assert code == 2 and f"{path}: line 1 is no header of a latency data set" in err
        assert path.read_bytes() == content
    code, _, err = verbs(3, path=tmp_path / "model.pt")
    assert code == 2 and "model.pt, allowed: a file that ends in .jsonl" in err
    assert [file.name for file in tmp_path.iterdir()] == ["notes.jsonl"]


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
        (["--runs", "3"], "--runs is 3, allowed: 4 to"),
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
