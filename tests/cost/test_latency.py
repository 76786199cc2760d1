"""Measuring latency: what is measured and how it is summarised. No assertion on how long anything takes."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import warnings
from types import SimpleNamespace

import pytest
import torch
from fairseq.models.transformer import TransformerModel, base_architecture

from fairseq_mos.cost.comparison import Comparison, compare
from fairseq_mos.cost.latency import DRIFT, Latency, LatencyMeter, LatencySettings, trimmed
from fairseq_mos.cost.precision import prepared
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.workload import generate, hat
from tests import toy

FAST = {"threads": 1, "source_tokens": 6, "target_tokens": 5, "beam": 3, "warmup": 1, "runs": 4}


@pytest.fixture(scope="module")
def subnet():
    model = toy.supernet()
    return model.extract(model.space.largest())


@pytest.fixture(scope="module")
def stock():
    sizes = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}
    args = SimpleNamespace(share_all_embeddings=True, dropout=0.0, encoder_layers_to_keep=None)
    for side in ("encoder", "decoder"):
        vars(args).update({f"{side}_{name}": value for name, value in sizes.items()})
    base_architecture(args)
    return TransformerModel.build_model(args, toy.task()).eval()


def test_a_summary_by_hand():
    seconds = [0.010, 0.012, 0.011, 0.013, 0.100, 0.012, 0.011, 0.012, 0.012, 0.001]
    found = Latency.of_runs(seconds, 0.1)
    assert found.median_ms == pytest.approx(12.0)
    assert found.mean_ms == pytest.approx(1e3 * sum(sorted(seconds)[1:-1]) / 8)
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    assert (found.low_ms, found.high_ms) == pytest.approx((1e3 * low, 1e3 * high))
    assert found.runs == 10 and math.isnan(found.encoder_ms) and "encoder_ms" not in found.to_dict()
    assert trimmed([3, 1, 2, 5, 4], 0.2) == [2, 3, 4]


def test_halves_that_differ_and_a_trend_widen_the_interval():
    quiet = Latency.of_runs([0.010, 0.0101] * 20, 0.1)
    assert quiet.drift == pytest.approx(0.01) and quiet.drift < DRIFT
    apart = Latency.of_runs([0.010, 0.012] * 20, 0.1)
    assert apart.drift == pytest.approx(0.2)
    assert (apart.low_ms, apart.high_ms) == pytest.approx((10.0, 12.0))
    rising = Latency.of_runs([0.010] * 80 + [0.015] * 20, 0.1)
    assert rising.drift == 0 and rising.trend == pytest.approx(0.5)
    # The upper quartile of all runs is 10 ms: only the last third makes it 15.
    assert (rising.low_ms, rising.high_ms) == pytest.approx((10.0, 15.0))
    falling = Latency.of_runs([0.015] * 20 + [0.010] * 80, 0.1)
    assert falling.trend == pytest.approx(-1 / 3)
    assert (falling.low_ms, falling.high_ms) == pytest.approx((10.0, 15.0))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_hat_runs_the_encoder_once_and_the_decoder_in_steps(subnet, precision):
    calls = {"encoder": [], "decoder": []}
    meter = LatencyMeter(LatencySettings(precision=precision, **FAST))
    model = prepared(subnet, "cpu", precision)
    for name in calls:
        getattr(model, name).register_forward_pre_hook(
            lambda module, args, name=name: calls[name].append(
                (args[0].shape, module.training, torch.is_grad_enabled())
            )
        )
    with torch.inference_mode():
        encode, decode = hat(model, meter.settings, meter.seed)
        calls["encoder"].clear()
        encode()
        decode()
    assert calls["encoder"] == [((1, 6), False, False)]
    assert calls["decoder"] == [((3, step), False, False) for step in range(1, 6)]


def test_a_measurement_leaves_the_model_as_it_is(subnet):
    before = {name: tensor.clone() for name, tensor in subnet.state_dict().items()}
    subnet.train()
    found = LatencyMeter(LatencySettings(**FAST)).measure(subnet)
    assert subnet.training
    subnet.eval()
    assert found.runs == 4 and 0 < found.low_ms <= found.median_ms <= found.high_ms
    assert found.encoder_ms > 0 and found.decoder_ms > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in subnet.state_dict().items())


def test_models_are_timed_in_turn(subnet):
    """A run of each after a run of the other, so that what slows the machine slows both."""
    other, calls = copy.deepcopy(subnet), []
    for name, model in (("a", subnet), ("b", other)):
        model.eval().encoder.register_forward_pre_hook(lambda module, args, name=name: calls.append(name))
    meter = LatencyMeter(LatencySettings(**FAST))
    seconds = meter.in_turn([subnet, other])
    assert [[len(part) for part in parts] for parts in seconds] == [[4, 4], [4, 4]]
    rounds = [name for name, _ in itertools.groupby(calls)]
    # Once to prepare decoding, once to warm up, then in each of the four rounds.
    assert rounds == ["a", "b"] * 6
    found = compare(meter, subnet, other)
    assert found.model_ms > 0 and found.low <= found.ratio <= found.high


def test_a_comparison_by_hand():
    """The median of the pairs' ratios: a moment that slows one pair counts for little."""
    found = Comparison.of_runs([0.010, 0.011, 0.036, 0.012, 0.010], [0.020, 0.020, 0.060, 0.020, 0.040])
    assert (found.model_ms, found.reference_ms) == pytest.approx((11.0, 20.0))
    assert (found.low, found.ratio, found.high) == pytest.approx((0.5, 0.55, 0.6))
    assert found.values(30.0) == pytest.approx(
        {"latency_ms": 16.5, "low_ms": 15.0, "high_ms": 18.0, "clocked_ms": 11.0, "reference_ms": 20.0}
        | {"recorded_ms": 30.0}
    )


def test_generate_is_fairseqs_beam_search(subnet):
    settings = LatencySettings(protocol="generate", **FAST)
    sentences = [torch.tensor([5, 6, 7, 2]), torch.tensor([8, 9, 2])]
    meter = LatencyMeter(settings, sentences)
    with torch.inference_mode():
        (translate,) = generate(prepared(subnet, "cpu", "fp32"), meter.settings, meter.sentences)
        first, second = translate()
    assert len(first) == 1 and len(first[0]) == 3 and first[0][0]["tokens"][-1] == 2
    assert LatencyMeter(settings, sentences).measure(subnet).median_ms > 0
    with pytest.raises(UserError, match="--protocol generate needs sentences"):
        LatencyMeter(settings)


@pytest.mark.parametrize("protocol", ["hat", "generate"])
def test_int8_of_a_stock_transformer(stock, protocol):
    """Its attention reads the weights of its linear layers, which quantised ones do not have."""
    settings = LatencySettings(protocol=protocol, precision="int8", **FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = LatencyMeter(settings, [torch.tensor([5, 6, 7, 2])]).measure(stock)
    assert found.runs == 4 and found.median_ms > 0
    with torch.inference_mode():
        logits = stock(**toy.batch()["net_input"])[0]
        quantised = prepared(stock, "cpu", "int8")(**toy.batch()["net_input"])[0]
        assert torch.equal(stock(**toy.batch()["net_input"])[0], logits)
    # Eight bits keep about two digits.
    assert 0 < (quantised - logits).abs().max() < 0.05 * logits.abs().max()


def test_signatures_say_what_the_number_depends_on():
    settings = LatencySettings(**FAST)
    signature = settings.signature()
    assert signature["threads"] == 1 and signature["precision"] == "fp32" and signature["device"]
    assert "runs" not in signature
    assert LatencySettings.from_signature(signature, runs=9).signature() == signature
    with pytest.raises(UserError, match="signature lacks 'precision'"):
        LatencySettings.from_signature({"protocol": "hat"})
    for name, value in (("threads", "1"), ("threads", True), ("beam", 5.0), ("kind", ["cpu"]), ("protocol", {})):
        with pytest.raises(UserError, match=f"the latency predictor's signature has {name} .*: fit it anew"):
            LatencySettings.from_signature({**signature, name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": "fast"}, "--protocol is 'fast', allowed: hat, generate"),
        ({"device": "tpu"}, "--device is 'tpu', allowed: cpu, cuda"),
        ({"precision": "fp16"}, "--precision is 'fp16', allowed on cpu: fp32, int8"),
        ({"runs": 3}, "--runs is 3, allowed: 4 or more"),
        ({"threads": 0}, "--threads is 0"),
        ({"source_tokens": 0}, "--source-tokens is 0"),
        ({"trim": 0.5}, "trim is 0.5"),
    ],
)
def test_settings_that_are_not_allowed(values, message):
    with pytest.raises(UserError, match=message):
        LatencySettings(**values)
