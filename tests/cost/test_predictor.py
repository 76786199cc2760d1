"""Fitting, the error that is reported, and the file."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cost.features import features, mean_features
from fairseq_mos.cost.fitting import fit_file, held_out_errors
from fairseq_mos.cost.predictor import LatencyPredictor, Measurements, Reference
from fairseq_mos.cost.regression import MODELS, Errors, choose, errors, fit, split, tau_ceiling
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.features import MEAN_NAMES
from fairseq_mos.families.translation.hat_csv import read_hat_csv
from tests.arch.samples import changed

SIGNATURE = {"protocol": "hat", "device": "test", "threads": 1}


def milliseconds(arch):
    """Latency that is additive over layers, as real ones nearly are."""
    decoder = arch.decoder
    sizes = zip(decoder.ffn_dims, decoder.cross_attention_heads)
    layers = sum(1.0 + ffn * decoder.embed_dim / 1e4 + 0.1 * heads for ffn, heads in sizes)
    return 2.0 + arch.encoder.embed_dim / 100 + 3 * layers


@pytest.fixture(scope="module")
def data():
    space, rng = SearchSpace.load("tiny"), random.Random(1)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(150)))
    rows = [features("layers", space, arch) for arch in archs]
    return archs, Measurements(space, SIGNATURE, "layers", rows, [milliseconds(arch) for arch in archs])


def test_errors_by_hand():
    found = errors([11.0, 18.0, 30.0, 44.0], [10.0, 20.0, 30.0, 40.0], 96, 7)
    assert found.mape == pytest.approx(7.5) and found.rmse == pytest.approx((1 + 4 + 0 + 16) ** 0.5 / 2)
    assert found.kendall_tau == pytest.approx(1.0)
    assert found.low == pytest.approx(100 * np.quantile([-0.1, 0.0, 0.1, 0.1], 0.05))
    assert (found.architectures, found.fitted_to, found.seed) == (4, 96, 7)
    assert errors([2.0, 1.0, 3.0], [1.0, 2.0, 3.0], 0, 0).kendall_tau == pytest.approx(1 / 3)


def test_tau_that_noise_allows():
    truth = [float(value) for value in range(10, 40)]
    assert tau_ceiling(truth, [5.0, 5.0, 5.0], 1) == pytest.approx(1.0)
    some, more = (tau_ceiling(truth, [100 - size, 100, 100 + size], 1) for size in (5, 20))
    assert 1 > some > more > 0.5 and tau_ceiling(truth, [95, 100, 105], 1) == some
    assert np.isnan(tau_ceiling(truth, [5.0], 1))


def test_splits_are_disjoint_complete_and_depend_on_the_seed():
    kept, held_out = split(200, 1)
    assert len(held_out) == 20 and sorted(kept + held_out) == list(range(200))
    assert split(200, 1) == (kept, held_out) != split(200, 2)
    with pytest.raises(UserError, match="19 measured architectures are too few"):
        split(19, 1)


def test_an_additive_latency_is_learnt(data):
    found, held_out, predicted, model = held_out_errors(data[1], "auto", 1)
    assert model in MODELS and len(held_out) == len(predicted) == found.architectures
    assert found.mape < 0.5 and found.kendall_tau > 0.97


@pytest.mark.parametrize("model", MODELS)
def test_saved_and_loaded_it_predicts_the_same(data, tmp_path, model):
    archs, measurements = data
    predictor = LatencyPredictor(measurements, model, Errors(10, 90, 1, 1.0, 1.0, 0.9, -2.0, 2.0))
    predictor.save(tmp_path / "p.json")
    loaded = LatencyPredictor.load(tmp_path / "p.json")
    fresh = [measurements.space.sample(random.Random(9)) for _ in range(3)]
    assert loaded.predict([*archs, *fresh]) == predictor.predict([*archs, *fresh])
    assert (loaded.errors, loaded.digest()) == (predictor.errors, predictor.digest())
    # One at a time or all at once: the same within the last bits.
    again = LatencyPredictor.load(tmp_path / "p.json")
    assert [again.predict([arch])[0] for arch in archs] == pytest.approx(predictor.predict(archs), rel=1e-12)


def test_the_reference_is_saved_and_where_there_is_none_the_largest_stands_in(data, tmp_path):
    _, measurements = data
    plain = LatencyPredictor(measurements, "linear", Errors(10, 90, 1, 1.0, 1.0, 0.9, -2.0, 2.0))
    largest = measurements.space.largest()
    assert plain.reference() == Reference(largest, plain.predict([largest])[0])
    assert plain.reference().milliseconds == pytest.approx(milliseconds(largest), rel=0.02)
    smallest = Reference(measurements.space.smallest(), 7.5)
    known = LatencyPredictor(replace(measurements, reference=smallest), "linear", plain.errors)
    known.save(tmp_path / "p.json")
    loaded = LatencyPredictor.load(tmp_path / "p.json")
    assert loaded.reference() == smallest and loaded.digest() == known.digest()
    # What a search is judged by belongs to its signature. Files of earlier versions keep theirs.
    assert known.digest() != plain.digest()
    plain.save(tmp_path / "old.json")
    assert "reference" not in json.loads((tmp_path / "old.json").read_text())
    assert LatencyPredictor.load(tmp_path / "old.json").digest() == plain.digest()


@pytest.mark.parametrize("model", MODELS)
def test_no_prediction_is_zero_or_less(model):
    """A line through these would be negative at 0, and keep every limit."""
    rows = [[float(x), 1.0] for x in range(100, 140)]
    predicted = fit(model, rows, [x - 99.0 for x, _ in rows])([[0.0, 1.0], [120.0, 1.0]])
    assert 0.09 < predicted[0] < 2 and predicted[1] == pytest.approx(21.0, rel=0.1)


def test_choice_by_cross_validation():
    """Steps that no line follows, and a line that trees follow in steps only."""
    rng = random.Random(0)
    rows = [[rng.random(), rng.random()] for _ in range(200)]
    assert choose(rows, [1.0 + 5.0 * ((x > 0.5) != (y > 0.5)) for x, y in rows], 1) != "linear"
    assert choose(rows, [5.0 + x + 2 * y for x, y in rows], 1) != "boosting"
    assert fit("linear", rows, [5.0 + x + 2 * y for x, y in rows])([[0.5, 0.5]]) == pytest.approx([6.5], rel=1e-3)


def test_another_space_or_device_is_refused(data):
    predictor = LatencyPredictor(data[1], "linear", Errors(10, 90, 1, 1.0, 1.0, 0.9, -2.0, 2.0))
    predictor.check(SearchSpace.load("tiny"), SIGNATURE)
    predictor.check(SearchSpace.load("tiny"))
    with pytest.raises(UserError, match="fitted for search space 'tiny' .* not for 'wmt'"):
        predictor.check(SearchSpace.load("wmt"))
    with pytest.raises(UserError, match="for threads 1, here it is 2: give --threads 1, fit .*, or give --any-device"):
        predictor.check(SearchSpace.load("tiny"), {**SIGNATURE, "threads": 2})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*: No such file"),
        ("{", "malformed JSON.*; expected a file of fit-latency"),
        ("[1]", "expected object, got array; expected a file of fit-latency"),
        ('{"fairseq_mos_latency_predictor": 1}', "missing required field model; fit it anew"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "p.json").write_text(content)
    with pytest.raises(UserError, match=message):
        LatencyPredictor.load(tmp_path / "p.json")


def test_a_csv_file(tmp_path):
    space, rng = SearchSpace.load("wmt"), random.Random(2)
    names = (*MEAN_NAMES, "latency_mean_encoder", "latency_mean_decoder")
    lines = [",".join(names)]
    for _ in range(60):
        arch = space.sample(rng)
        lines.append(",".join(map(str, [*mean_features(arch), 5.0, 30.0 * arch.decoder.layers])))
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    report = fit_file(str(path), str(tmp_path / "p.json"), "linear", 1, "wmt", "some GPU")
    assert report.errors.mape < 1.0 and report.noise != report.noise
    assert {file.name for file in report.files} == {"p.json", "p.errors.json", "p.heldout.csv", "p.png"}
    found = LatencyPredictor.load(tmp_path / "p.json").predict([space.largest(), space.smallest()])
    assert found == pytest.approx([185.0, 35.0], rel=0.02)
    assert json.loads((tmp_path / "p.json").read_text())["signature"]["device"] == "some GPU"
    path.write_text("\n".join([lines[0].replace("_avg", "_mean"), *lines[1:]]))
    with pytest.raises(UserError, match="column encoder_ffn_embed_dim_avg is missing"):
        read_hat_csv(str(path), space, "x")
    path.write_text("\n".join([lines[0], lines[1].replace("5.0", "fast")]))
    with pytest.raises(UserError, match="line 2 holds something that is no number"):
        read_hat_csv(str(path), space, "x")
    for value in ("nan", "inf", "-1.0", "1e+200"):
        path.write_text("\n".join([lines[0], lines[1], ",".join([value, *lines[2].split(",")[1:]])]))
        with pytest.raises(UserError, match=re.escape(f"line 3: encoder_embed_dim is {value}, expected 0 to 1e+06")):
            read_hat_csv(str(path), space, "x")
    # A negative one that the other part makes up for, too.
    for value in ("nan", "inf", "-1.0", "0.0", "1e+200"):
        path.write_text("\n".join([lines[0], lines[1], ",".join([*lines[2].split(",")[:-2], value, "9.0"])]))
        with pytest.raises(UserError, match="line 3: latency_mean_encoder is .* expected 1e-06 to"):
            read_hat_csv(str(path), space, "x")
    path.write_text("\n".join([lines[0], '"' + "1" * 200_000 + lines[1]]))
    with pytest.raises(UserError, match="cannot read .*field larger than field limit"):
        read_hat_csv(str(path), space, "x")
    with pytest.raises(UserError, match="give --search-space"):
        fit_file(str(path), str(tmp_path / "p.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows.3": [1.0, 2.0]}, r"rows\[3\] has 2 values, expected 43 numbers: fit it anew"),
        ({"rows.3": None}, r"rows\[3\]: expected array, got null; fit it anew"),
        ({"rows.3": ["wide"] * 43}, r"rows\[3\]\[0\]: expected int \| float, got str"),
        ({"rows.3": [float("nan")] * 43}, r"rows\[3\]\[0\]: expected int \| float, got null"),
        ({"rows": []}, "rows and milliseconds have 0 and 150 entries, expected as many, and 2 or more"),
        ({"rows": 7}, "rows: expected array, got int"),
        ({"rows.3": [1e300] * 43}, r"rows\[3\] holds a number above 1e\+18"),
        ({"rows.3": [10**400] * 43}, "a number with 401 digits"),
        ({"milliseconds.3": None}, r"milliseconds\[3\]: expected int \| float, got null; fit it anew"),
        ({"milliseconds.3": -1.0}, r"milliseconds\[3\] is -1.0, expected"),
        ({"milliseconds.3": 1e200}, r"milliseconds\[3\] is 1e\+200, expected"),
        ({"milliseconds.3": 10**400}, "a number with 401 digits"),
        ({"reference.milliseconds": -1.0}, r"reference.milliseconds is -1.0, expected 1e-06 to 1e\+09 milliseconds"),
        ({"reference": 7}, "reference: expected object | null, got int"),
        ({"reference": {"milliseconds": 3.0}}, "reference: .*missing required field architecture"),
        ({"reference.architecture": [1]}, "reference.architecture: expected object, got array"),
        ({"reference.architecture.encoder.embed_dim": 999}, "reference.architecture: encoder.embed_dim is 999, but"),
        ({"milliseconds": [1.0]}, "rows and milliseconds have 150 and 1 entries"),
        ({"signature": [1]}, "signature: expected object, got array"),
        ({"features": "deep"}, "features are 'deep', allowed: layers, mean"),
        ({"errors.mape": "low"}, "errors.mape: expected float . null, got str"),
        ({"errors": {}}, "errors: .*missing required field architectures"),
    ],
)
def test_malformed_fields_of_a_predictor_are_one_line(data, tmp_path, change, message):
    path = tmp_path / "p.json"
    measurements = replace(data[1], reference=Reference(data[1].space.largest(), 40.0))
    LatencyPredictor(measurements, "linear", Errors(10, 90, 1, 1.0, 1.0, 0.9, -2.0, 2.0)).save(path)
    ((field, value),) = change.items()
    path.write_text(json.dumps(changed(json.loads(path.read_text()), field, value)))
    with pytest.raises(UserError, match=message) as caught:
        LatencyPredictor.load(path)
    assert str(path) in str(caught.value) or field == "features"


@pytest.mark.parametrize(
    ("dataset", "output", "message"),
    [
        ("a.csv", "a.csv", "--output is .*a.csv, allowed: a file that ends in .json"),
        ("a.csv", "p.png", "--output is .*p.png, allowed: a file that ends in .json"),
        ("a.json", "a.json", "writing .*a.json would overwrite .*a.json"),
        ("p.heldout.csv", "p.json", "writing .*p.heldout.csv would overwrite .*p.heldout.csv"),
    ],
)
def test_an_input_is_never_overwritten(tmp_path, dataset, output, message):
    (tmp_path / dataset).write_text("measured\n")
    with pytest.raises(UserError, match=message):
        fit_file(str(tmp_path / dataset), str(tmp_path / "." / output), "linear", 1, "wmt")
    assert [file.name for file in tmp_path.iterdir()] == [dataset]
    assert (tmp_path / dataset).read_text() == "measured\n"


@pytest.mark.parametrize(
    ("name", "space", "bar"),
    [
        ("wmt14ende_gpu_titanxp_all.csv", "wmt", 5.3),
        ("wmt14ende_cpu_xeon_all.csv", "wmt", 4.9),
        ("iwslt14deen_gpu_titanxp_all.csv", "iwslt14", 7.2),
    ],
)
def test_published_data(shared_data, name, space, bar):
    """Held-out error on HAT's data sets, at most that of HAT's own predictor (a network of five layers)."""
    data = read_hat_csv(str(shared_data(f"latency_hat/{name}")), SearchSpace.load(space), name)
    assert len(data.rows) == 2000
    found, *_ = held_out_errors(data, "auto", 1)
    assert found.architectures == 200 and found.mape <= bar
