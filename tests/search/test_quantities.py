"""One row a quantity: what reads the table, and that another row is all that another quantity takes."""

from __future__ import annotations

import csv
import json

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.cli import main
from fairseq_mos.search.quantities import QUANTITIES, Quantity, cheap, columns, traded


def heads(arch: Architecture) -> int:
    """What no other quantity counts."""
    return sum(arch.encoder.self_attention_heads) + sum(arch.decoder.self_attention_heads)


@pytest.fixture
def toy_quantity(monkeypatch):
    row = Quantity("heads", "heads of all layers", heads, "heads", "heads", "{:d}")
    monkeypatch.setitem(QUANTITIES, "heads", row)


def test_the_orders_of_tables_and_fronts():
    """They are those of the files of earlier versions."""
    assert [q.name for q in cheap()] == ["params", "params_no_embed", "params_budget", "flops", "latency_ms"]
    assert [q.name for q in columns()[5:]] == ["loss", "nll_loss", "bleu", "chrf", "proxy_score"]
    assert traded() == ["latency_ms", "flops", "params"]


def test_another_row_is_another_quantity(trained, tmp_path, capsys, monkeypatch, toy_quantity):
    """As second objective and as limit, from the help text to the axis of the picture."""
    from matplotlib.figure import Figure

    labels = []
    save = Figure.savefig

    def spy(self, *arguments, **options):
        labels.append(self.axes[0].get_xlabel())
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    output = tmp_path / "found"
    command = ["search", str(trained.data), "--path", str(trained.path), "--output", str(output), "--cpu"]
    command += ["--budget", "12", "--algorithm", "random", "--objectives", "loss,heads"]
    assert main([*command, "--constraint", "heads<=16", "--constraint", "heads>10"]) == 0
    out = capsys.readouterr().out
    header = next(line for line in out.splitlines() if line.startswith("architecture  "))
    assert header.split()[-5:] == ["MFLOPs", "heads", "loss", "nll", "loss"]
    first, *rows = [json.loads(line) for line in (output / "evaluations.jsonl").read_text().splitlines()]
    assert first["signature"]["constraints"] == ["heads<=16", "heads>10"]
    assert len(rows) == 12
    assert all(row["heads"] == heads(Architecture.from_dict(row["architecture"])) in range(11, 17) for row in rows)
    best = json.loads((output / "best.json").read_text())
    assert best["heads"] == heads(Architecture.load(output / "best.yaml"))
    with open(output / "evaluations.csv", newline="") as stream:
        assert [int(row["heads"]) for row in csv.DictReader(stream)] == [row["heads"] for row in rows]
    assert list((output / "front").glob("pareto-01-*.yaml"))
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert labels[:3] == ["heads of all layers (heads)", "evaluations", "heads of all layers (heads)"]
    assert main([*command, "--constraint", "heads<=1"]) == 2
    assert "heads<=1 cannot be met: the smallest reachable value is 8 " in capsys.readouterr().err
    assert main(["search", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "params_budget, flops, heads; the first one" in words and "flops (at 30/30 tokens) or heads; may" in words
