"""What the logs of trainings tell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from pipeline.config import PipelineError  # noqa: E402
from reproduce.training_logs import told_by  # noqa: E402


def line(update, rate, loss=2.0):
    """As fairseq logs some updates: whole seconds, which for quick updates are no measure."""
    values = {"epoch": 1, "update": 0.1, "loss": loss, "nll_loss": loss, "wps": 800, "ups": rate, "wpb": 100}
    values |= {"bsz": 4, "num_updates": update, "lr": 0.1, "gnorm": 1, "train_wall": 1, "wall": update // 20}
    words = {key: value if key in ("epoch", "update") else str(value) for key, value in values.items()}
    return f"2026-01-01 12:00:00 | INFO | train_inner | {json.dumps(words)}"


def test_speed_is_that_of_most_intervals_whatever_stood_still_or_was_begun_again(tmp_path):
    log = tmp_path / "train.log"
    lines = ["$ fairseq-train", line(20, 25.0), line(40, 0.01), line(60, 24.0)]
    # Killed, and gone on with from 40.
    lines += ["$ fairseq-train", line(60, 26.0), line(80, 25.0), line(100, 1.5)]
    log.write_text("\n".join(lines) + "\n")
    told = told_by(log)
    assert told["updates_per_second"] == 25.0
    assert told["train_seconds"] == pytest.approx(100 / 25)
    assert (told["updates"], told["starts"], told["tokens_per_update"]) == (100, 2, 100)


def test_a_log_without_an_update_is_one_line(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("$ fairseq-train\nkilled\n")
    with pytest.raises(PipelineError, match="tells of no update"):
        told_by(log)
