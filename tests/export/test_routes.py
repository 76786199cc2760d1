"""All ways to run a subnet against fairseq-generate, on 100 real sentences."""

from __future__ import annotations

import argparse
import gzip
import importlib.util

from fairseq_mos.export.checkpoint import extract_checkpoint
from tests.fairseq_commands import ROOT


def _benchmark():
    spec = importlib.util.spec_from_file_location("routes", ROOT / "examples" / "benchmark" / "routes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_route_translates_multi30k_alike(exportable, shared_data, tmp_path):
    """An untrained subnet: what it says is nonsense, but the same nonsense."""
    path = tmp_path / "subnet" / "subnet.pt"
    extract_checkpoint(exportable.path, "largest", str(path))
    with gzip.open(shared_data("multi30k/test_2016_flickr.de.gz"), "rt", encoding="utf-8") as stream:
        lines = [next(stream).rstrip("\n") for _ in range(100)]
    args = argparse.Namespace(path=str(path), max_tokens=2000, threads=1, beam=3, runs=1)
    rows = {row["route"]: row for row in _benchmark().measure(args, lines, tmp_path)}
    assert len(rows) == 6
    for route, row in rows.items():
        if "int8" not in route:
            assert row["greedy_same"] == 100, route
        if route.startswith("hub"):
            assert row["beam_same"] == 100, route
