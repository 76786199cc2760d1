"""The evaluator against fairseq-validate, and the data that it refuses."""

from __future__ import annotations

import logging
import random
import shutil
import sys

import pytest
import torch

from fairseq_mos.download import file_digest
from fairseq_mos.errors import UserError
from fairseq_mos.search.evaluator import LossEvaluator
from fairseq_mos.search.provenance import measured_with
from tests.fairseq_commands import ROOT, run_steps

MAX_TOKENS = 40


@pytest.fixture(scope="module")
def evaluator(trained):
    return LossEvaluator(str(trained.path), str(trained.data), max_tokens=MAX_TOKENS, cpu=True)


@pytest.fixture
def data(trained, tmp_path):
    """A copy of the data, to be spoilt."""
    return shutil.copytree(trained.data, tmp_path / "data")


@pytest.fixture
def validate(trained, monkeypatch):
    """Returns a function that runs fairseq-validate and returns what it reports, unrounded."""
    import fairseq_cli.validate
    from fairseq.logging import meters

    reports = []
    original = meters.MetersDict.get_smoothed_values

    def spy(self):
        values = original(self)
        reports.append(dict(values))
        return values

    monkeypatch.setattr(meters, "safe_round", lambda number, digits: float(number))
    monkeypatch.setattr(meters.MetersDict, "get_smoothed_values", spy)
    # fairseq-validate replaces the handlers of the root logger.
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))

    def run(architecture):
        command = f"fairseq-validate {trained.data} --user-dir {ROOT / 'fairseq_mos'} --path {trained.path}"
        command += f" --task supernet_translation --max-tokens {MAX_TOKENS} --cpu --log-format none"
        monkeypatch.setattr(sys, "argv", [*command.split(), "--architecture", architecture])
        reports.clear()
        fairseq_cli.validate.cli_main()
        return reports[-1]

    return run


def test_equals_fairseq_validate(evaluator, validate, tmp_path):
    space = evaluator.space
    losses = set()
    for arch in [space.largest(), space.smallest(), space.sample(random.Random(5))]:
        arch.save(tmp_path / "arch.yaml")
        reported = validate(str(tmp_path / "arch.yaml"))
        found = evaluator.evaluate(arch)
        for name in ("loss", "nll_loss"):
            assert found[name] == pytest.approx(float(reported[name]), rel=1e-6)
        assert found["loss"] != found["nll_loss"]
        losses.add(found["loss"])
    assert len(losses) == 3


def test_every_sentence_counts(evaluator):
    ids = sorted(int(i) for batch in evaluator.batches for i in batch["id"])
    assert len(evaluator.batches) > 1 and ids == list(range(11))


def test_equals_the_extracted_subnet_sentence_by_sentence(evaluator):
    """Another route: no batches, no criterion, the dense model."""
    arch = evaluator.space.sample(random.Random(9))
    found = evaluator.evaluate(arch)["nll_loss"]
    subnet = evaluator.model.extract(arch)
    total, tokens = 0.0, 0
    with torch.no_grad():
        for batch in evaluator.batches:
            for i in range(batch["nsentences"]):
                source, target = batch["net_input"]["src_tokens"][i], batch["target"][i]
                source, target = source[source != 1], target[target != 1]
                previous = torch.cat([target[-1:], target[:-1]])
                logits, _ = subnet(source[None], torch.tensor([len(source)]), previous[None])
                total -= logits[0].double().log_softmax(-1)[range(len(target)), target].sum().item()
                tokens += len(target)
    assert found == pytest.approx(total / tokens / torch.log(torch.tensor(2.0)).item(), rel=1e-5)


def test_evaluating_changes_nothing(trained, evaluator):
    file, weights = file_digest(trained.path), {k: v.clone() for k, v in evaluator.model.state_dict().items()}
    archs = [evaluator.space.sample(random.Random(i)) for i in range(4)]
    first = [evaluator.evaluate(arch) for arch in archs]
    evaluator.model.train()
    # The order, what was active before and the mode it was left in do not matter, to the last bit.
    assert [evaluator.evaluate(arch) for arch in reversed(archs)] == first[::-1]
    after = evaluator.model.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[k], weights[k]) for k in weights)
    assert all(parameter.grad is None for parameter in evaluator.model.parameters())
    assert file_digest(trained.path) == file


def test_the_digest_is_of_the_sentences(trained, evaluator, data):
    moved = LossEvaluator(str(trained.path), str(data), max_tokens=MAX_TOKENS, cpu=True)
    assert moved.data_digest == evaluator.data_digest
    other = LossEvaluator(str(trained.path), str(data), "test", MAX_TOKENS, cpu=True)
    assert other.data_digest != evaluator.data_digest
    signature = measured_with(moved, str(trained.path), "valid", MAX_TOKENS)
    assert signature["supernet"] == f"sha256-{file_digest(trained.path)[:16]}"
    assert (signature["routing"], signature["experts"], signature["device"]) == ("neuron", 2, "cpu")


def refusal(trained, data, **options) -> str:
    with pytest.raises(UserError) as error:
        LossEvaluator(str(trained.path), str(data), cpu=True, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_folder_dictionary_or_split(trained, data):
    assert "is no folder" in refusal(trained, data / "absent")
    assert "has no dev set of a-b as binarised data; it holds binarised" in refusal(trained, data, split="dev")
    (data / "dict.b.txt").unlink()
    assert f"{data / 'dict.b.txt'} does not exist" in refusal(trained, data)


def test_an_empty_split(trained, data, tmp_path):
    for side in "ab":
        (tmp_path / f"empty.{side}").write_text("")
    step = f"fairseq-preprocess -s a -t b --srcdict {data}/dict.a.txt --tgtdict {data}/dict.b.txt".split()
    run_steps([[*step, "--validpref", str(tmp_path / "empty"), "--destdir", str(data)]], tmp_path)
    assert "valid.a-b.a.bin holds no sentences" in refusal(trained, data)


def test_another_dictionary(trained, data):
    file = data / "dict.b.txt"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[1:]))
    assert "dict.b.txt" in refusal(trained, data)
    # The same size, but other words: only visible beside the dictionary of the training.
    file.write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert f"{file} differs from {trained.data / 'dict.b.txt'}" in refusal(trained, data)


def test_sentences_that_are_too_long(trained, data):
    assert "raise --max-tokens" in refusal(trained, data, max_tokens=3)
    assert "--max-tokens is 0" in refusal(trained, data, max_tokens=0)


def test_racing_stops_the_clearly_worse_and_measures_the_others_in_full(trained):
    evaluator = LossEvaluator(str(trained.path), str(trained.data), max_tokens=10, cpu=True)
    assert len(evaluator.batches) >= 8
    rng = random.Random(1)
    archs = list(dict.fromkeys(evaluator.space.sample(rng) for _ in range(12)))
    full = {arch: evaluator.evaluate(arch) for arch in archs}
    best, worst = (choose(archs, key=lambda a: full[a]["loss"]) for choose in (min, max))
    for arch in archs:
        # Nothing is clearly worse than the worst.
        assert evaluator.race(arch, worst) == {**full[arch], "raced": 0.0}
        raced = evaluator.race(arch, best)
        assert evaluator.race(arch, best) == raced
        if not raced["raced"]:
            assert raced == {**full[arch], "raced": 0.0}
        assert raced["loss"] >= full[best]["loss"]


def test_the_order_of_batches_is_random_and_always_the_same(trained):
    first, second = (LossEvaluator(str(trained.path), str(trained.data), max_tokens=10, cpu=True) for _ in "ab")
    assert first.order == second.order != sorted(first.order)
    assert sorted(first.order) == list(range(len(first.batches)))
