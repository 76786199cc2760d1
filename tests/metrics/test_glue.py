"""GLUE's scores: known values, and that every example counts once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.glue import (
    MEASURES,
    Predictions,
    glue_scores,
    read_predictions,
    score_file,
    write_predictions,
)


def test_known_values_of_classes():
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
    labels = [*"1111100000"]
    predictions = [*"1110010000"]
    assert glue_scores("SST-2", labels, predictions) == {"accuracy": pytest.approx(70)}
    assert glue_scores("MRPC", labels, predictions) == {"accuracy": pytest.approx(70), "f1": pytest.approx(600 / 9)}
    matthews = (3 * 4 - 1 * 2) / math.sqrt((3 + 1) * (3 + 2) * (4 + 1) * (4 + 2))
    assert glue_scores("CoLA", labels, predictions) == {"matthews": pytest.approx(100 * matthews)}


def test_f1_is_of_the_paraphrases():
    """Not of the classes in whichever order they come."""
    labels, predictions = [*"0111"], [*"0011"]
    assert glue_scores("QQP", labels, predictions)["f1"] == pytest.approx(80)
    assert glue_scores("QQP", [*"0000"], [*"0000"]) == {"accuracy": 100, "f1": 0}


def test_known_values_of_numbers():
    labels, predictions = [0.0, 1.0, 2.0, 5.0], [1.0, 2.0, 4.0, 3.0]
    found = glue_scores("STS-B", labels, predictions)
    assert found["pearson"] == pytest.approx(100 * np.corrcoef(labels, predictions)[0, 1])
    # Two neighbours changed places: 1 - 6 x 2 / (4 x 15).
    assert found["spearman"] == pytest.approx(80)
    assert glue_scores("STS-B", labels, [2.5] * 4) == {"pearson": 0, "spearman": 0}


def test_words_as_classes():
    labels = ["entailment", "neutral", "contradiction", "neutral"]
    assert glue_scores("MNLI", labels, [labels[0], labels[0], labels[2], labels[1]]) == {"accuracy": 75}


@pytest.mark.parametrize("task", MEASURES)
def test_a_file_gives_what_arrays_give_in_any_order(task, tmp_path):
    draw = np.random.default_rng(1)
    if task == "STS-B":
        labels, predictions = draw.uniform(0, 5, (2, 23)).tolist()
    else:
        labels, predictions = (list(map(str, line)) for line in draw.integers(0, 2, (2, 23)))
    path = tmp_path / "predictions.tsv"
    write_predictions(path, Predictions(labels, predictions))
    expected = glue_scores(task, labels, predictions)
    assert score_file(path, task) == expected
    head, *lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in [head, *lines[::-1]]))
    assert score_file(path, task) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["index\tlabel\tprediction", "0\t1\t1", "2\t1\t0"], "the example 1 is missing"),
        (["index\tlabel\tprediction", "0\t1\t1", "0\t1\t0"], "line 3: the example 0 stands there twice"),
        (["index\tlabel\tprediction"], "the example 0 is missing"),
        (["index\tlabel\tprediction", "0\t1"], "line 2 is '0.t1', expected an index"),
        (["index\tlabel\tprediction", "-1\t1\t1"], "line 2"),
        (["label\tprediction", "1\t1"], "line 1 is .*, expected the columns index, label, prediction"),
        ([], "line 1 is ''"),
    ],
)
def test_files_that_do_not_count_every_example_once_are_refused(tmp_path, lines, message):
    path = tmp_path / "predictions.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=message):
        read_predictions(path, "SST-2")


def test_numbers_are_wanted_where_numbers_are_predicted(tmp_path):
    write_predictions(tmp_path / "p.tsv", Predictions(["1.0"], ["much"]))
    with pytest.raises(UserError, match="line 2 is .*, expected numbers"):
        read_predictions(tmp_path / "p.tsv", "STS-B")
    write_predictions(tmp_path / "p.tsv", Predictions([1.0, 2.0], [math.nan, 1.0]))
    with pytest.raises(UserError, match="p.tsv: STS-B has .* no finite numbers"):
        score_file(tmp_path / "p.tsv", "STS-B")


def test_unknown_tasks_and_unequal_numbers_are_refused():
    with pytest.raises(UserError, match="allowed: CoLA, SST-2"):
        glue_scores("WNLI", ["1"], ["1"])
    with pytest.raises(UserError, match="1 labels and 2 predictions"):
        glue_scores("RTE", ["1"], ["1", "1"])
    with pytest.raises(UserError, match="0 labels"):
        glue_scores("RTE", [], [])
