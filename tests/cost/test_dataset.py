"""Which architectures are measured, and the file that survives a kill at any byte."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest
from scipy.stats import kendalltau

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.cost.dataset import LatencyData, measure_dataset, planned, read_dataset, stratified, summary, table
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.costs import flops
from fairseq_mos.version import __version__
from tests.arch.samples import changed, mini

SIGNATURE = {"protocol": "hat", "device": "test"}


class Meter:
    """Milliseconds that grow with FLOPs; counts its calls and can be made to fail."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = 0, fail_at

    def __call__(self, arch):
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        return {"median_ms": flops(arch) / 1e5, "low_ms": 1.0}


def measure(path, meter=None, samples=23, seed=1, space=None, signature=SIGNATURE, passes=1):
    return measure_dataset(space or mini(), samples, seed, signature, meter or Meter(), path, passes=passes)


class SlowMeter(Meter):
    """Three times as slow during the first pass and every other measurement of the second."""

    def __call__(self, arch):
        found = super().__call__(arch)
        slow = self.calls <= 26 or (self.calls <= 52 and self.calls % 2)
        return {"median_ms": found["median_ms"] * (3 if slow else 1)}


def test_depths_are_equally_frequent_and_larger_sets_continue_smaller_ones():
    space = SearchSpace.load("wmt")
    archs = list(islice(stratified(space, 1), 602))
    assert archs[:2] == [space.largest(), space.smallest()]
    assert len(set(archs)) == 602
    assert set(Counter(arch.decoder.layers for arch in archs[2:]).values()) == {100}
    assert list(islice(stratified(space, 1), 100)) == archs[:100]
    assert list(islice(stratified(space, 2), 100)) != archs[:100]


@pytest.mark.parametrize("seed", range(1, 6))
def test_what_is_measured_first_is_neither_shallower_nor_smaller(seed):
    """The first pass is in the order of the draws: a drifting machine must not look like an effect of depth."""
    archs = list(islice(stratified(SearchSpace.load("wmt"), seed), 2, 602))
    depths = [arch.decoder.layers for arch in archs]
    rounds = [tuple(depths[begin : begin + 6]) for begin in range(0, 600, 6)]
    assert all(sorted(depths) == [1, 2, 3, 4, 5, 6] for depths in rounds) and len(set(rounds)) > 80
    # Ranks of 600 unrelated values: Kendall's tau has a standard deviation of 0.027.
    for values in (depths, [flops(arch) for arch in archs]):
        assert abs(kendalltau(range(600), values).statistic) < 0.1
    within = [place for order in rounds for place, _ in sorted(enumerate(order), key=lambda pair: pair[1])]
    assert abs(kendalltau(within, [*range(6)] * 100).statistic) < 0.1


def test_a_small_space_ends(tmp_path):
    space = mini(encoder__layers=[1], encoder__ffn_dims=[16], decoder__layers=[1], decoder__ffn_dims=[16])
    assert len(list(stratified(space, 1))) == space.size() == 16
    seen = []
    data = measure_dataset(space, 50, 1, SIGNATURE, Meter(), tmp_path / "a.jsonl", progress=seen.append, passes=2)
    assert len(data.architectures) == 16 and len(seen) == planned(space, 50, 1, 2) == 2 * (16 + 2)


def test_what_is_measured(tmp_path):
    data = measure(tmp_path / "a.jsonl")
    assert data.architectures == list(islice(stratified(mini(), 1), 23))
    assert data.milliseconds == [flops(arch) / 1e5 for arch in data.architectures]
    assert len(data.reference) == 3 and planned(mini(), 23, 1) == 26
    assert read_dataset(tmp_path / "a.jsonl") == data
    facts = summary(data)
    assert facts["architectures"] == 23 and facts["noise"] == facts["drift"] == 0
    assert facts["slowest_ms"] == facts["reference_ms"] == flops(mini().largest()) / 1e5
    rows = table(data)
    assert [row["latency_ms"] for row in rows] == data.milliseconds
    assert (rows[0]["digest"], rows[0]["decoder_layer_num"]) == (mini().largest().digest(), 2)
    assert Architecture.from_dict(json.loads(rows[5]["architecture"])) == data.architectures[5]
    assert rows[5]["signature"] == f"space:mini-{mini().digest()}|protocol:hat|device:test|fairseq_mos:{__version__}"


def test_interrupted_or_cut_at_any_byte_it_goes_on(tmp_path):
    whole = tmp_path / "whole.jsonl"
    measure(whole)
    content = whole.read_bytes()
    begin = content.rstrip(b"\n").rfind(b"\n") + 1
    path = tmp_path / "cut.jsonl"
    for end in [*range(begin - 3, len(content), 40), len(content)]:
        path.write_bytes(content[:end])
        meter = Meter()
        measure(path, meter)
        assert path.read_bytes() == content and meter.calls <= 2
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        measure(path, Meter(fail_at=7))
    assert len(read_dataset(path).milliseconds) == 6
    measure(path)
    assert path.read_bytes() == content


def test_a_larger_one_continues(tmp_path):
    measure(tmp_path / "a.jsonl", samples=12)
    meter = Meter()
    measure(tmp_path / "a.jsonl", meter, samples=23)
    assert meter.calls == 26 - 14
    measure(tmp_path / "b.jsonl", samples=23)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_several_passes_keep_the_lowest(tmp_path):
    data = measure(tmp_path / "a.jsonl", SlowMeter(), passes=3)
    assert data.architectures == list(islice(stratified(mini(), 1), 23))
    assert data.milliseconds == [flops(arch) / 1e5 for arch in data.architectures]
    assert len(data.reference) == 3 and len(data.in_time) == 9 and planned(mini(), 23, 1, 3) == 78
    assert data.noise() == 0 and data.drift() == pytest.approx(-2 / 3)
    assert read_dataset(tmp_path / "a.jsonl") == data
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()[1:]]
    orders = [[row["place"] for row in rows[begin : begin + 26] if row["role"] == "sample"] for begin in (0, 26, 52)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] == list(range(23)) != orders[1] != orders[2]
    with pytest.raises(UserError, match="--passes is 0"):
        measure(tmp_path / "b.jsonl", passes=0)


def test_more_passes_continue_fewer(tmp_path):
    measure(tmp_path / "a.jsonl", passes=1)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "a.jsonl", Meter(fail_at=7), passes=2)
    measure(tmp_path / "a.jsonl", passes=2)
    measure(tmp_path / "b.jsonl", passes=2)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_files_without_places_are_read_as_ever(tmp_path):
    data = measure(tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("place", None)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_dataset(tmp_path / "b.jsonl") == data


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 2}, "its seed is 1, now it is 2"),
        ({"signature": {**SIGNATURE, "device": "other"}}, 'its settings.device is "test", now it is "other"; give'),
        ({"space": SearchSpace.load("tiny")}, 'its space.name is "mini", now it is "tiny"; its space.desc'),
    ],
)
def test_data_of_something_else_is_refused(tmp_path, change, field):
    measure(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=f"log of another latency data set: {field}"):
        measure(tmp_path / "a.jsonl", **change)


def test_noise_and_drift_by_hand():
    data = LatencyData(mini(), {}, [], [], [10.0, 10.0, 11.0, 11.0], [10.0, 10.0, 11.0, 11.0])
    assert data.drift() == pytest.approx(0.1)
    assert data.noise() == pytest.approx(0.5 / 10.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no latency data set"),
        ('{"fairseq_mos_search": 1}\n', "is no latency data set"),
        ("nonsense\n", "line 1 is damaged"),
        ('{"fairseq_mos_latency_data_set": 1}\n', "line 1 is no header of a latency data set"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_dataset(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("median_ms", None, "line 5 is no measurement"),
        ("median_ms", float("nan"), "line 5 is damaged, expected a JSON object: malformed JSON: NaN is no number"),
        ("median_ms", 0, "line 5 is no measurement .*median_ms is 0, expected"),
        ("median_ms", -1.0, "line 5 is no measurement .*median_ms is -1.0, expected"),
        ("median_ms", 1e200, r"line 5 is no measurement .*median_ms is 1e\+200, expected"),
        ("median_ms", 10**400, "line 5 is damaged, expected a JSON object: .*a number with 401 digits"),
        ("median_ms", "3.5", "line 5 is no measurement .*median_ms is \"3.5\", expected"),
        ("role", "other", "line 5 is no measurement"),
        ("architecture.encoder.embed_dim", 24, "line 5: encoder.embed_dim is 24, but search space 'mini' allows 16, 8"),
    ],
)
def test_a_line_that_is_no_measurement(tmp_path, field, value, message):
    path = tmp_path / "a.jsonl"
    measure(path)
    lines = path.read_text().splitlines()
    row = changed(json.loads(lines[4]), field, value)
    path.write_text("\n".join([*lines[:4], json.dumps(row), *lines[5:]]) + "\n")
    with pytest.raises(UserError, match=message):
        read_dataset(path)


def test_a_single_architecture_is_no_data_set(tmp_path):
    with pytest.raises(UserError, match="--samples is 1"):
        measure(tmp_path / "b.jsonl", samples=1)
    assert not (tmp_path / "b.jsonl").exists()
