"""Each repair of fairseq: the defect is there without it (or absent in this fairseq), and gone with it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fairseq_commands import ROOT, TINY, run, run_steps, write_corpus, write_plugin

NOISE = ("hydra", "torch.cuda.amp", "mismatched key_padding_mask", "pin_memory", "tensorboardX")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with binarised data (`bin`) and the plugin of the repairs alone (`repairs_only`)."""
    folder = tmp_path_factory.mktemp("compat")
    write_corpus(folder)
    write_plugin(folder)
    return folder


def probe(bench: Path, name: str, *plugin: str) -> dict:
    """What `compat_probe.py` finds out in a process of its own, and what it wrote on stderr."""
    folder = bench / name
    folder.mkdir()
    script = Path(__file__).with_name("compat_probe.py")
    done = run([sys.executable, str(script), str(folder), str(bench / "bin"), *plugin], bench)
    return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


@pytest.fixture(scope="module")
def plain(bench):
    """fairseq as it is installed."""
    return probe(bench, "plain")


@pytest.fixture(scope="module")
def repaired(bench):
    """fairseq with the repairs."""
    return probe(bench, "repaired", str(bench))


def defect(present: bool) -> None:
    """Skips where the installed fairseq is healthy: then there is nothing that the repair could mend."""
    if not present:
        pytest.skip("this fairseq does not have the defect")


def lost(batches: dict[str, list]) -> list[str]:
    """The cases whose batches do not hold every item exactly once."""
    return [
        name
        for name, found in batches.items()
        if sorted(index for batch in found for index in batch) != list(range(int(name.split()[0])))
    ]


def test_apply_is_idempotent_and_says_what_it_did(repaired):
    first, second = repaired["applied"]
    assert len(first) > 5 and len(set(first)) == len(first)
    assert second == []


def test_no_sentence_is_lost(repaired):
    assert lost(repaired["batches"]) == []


def test_sentences_are_lost_without_the_repair(plain):
    defect(bool(lost(plain["batches"])))
    assert "5 items, multiple 8, tokens None, sentences 3, vec" in lost(plain["batches"])


def test_the_other_batches_stay_as_they_are(plain, repaired):
    for name, healthy in plain["batches"].items():
        if isinstance(healthy, list):
            assert repaired["batches"][name][: len(healthy)] == healthy
            assert len(repaired["batches"][name]) - len(healthy) in (0, 1)


def test_restored_batches_keep_the_limits(repaired):
    for name, batches in repaired["batches"].items():
        words = name.replace(",", "").split()
        tokens, sentences = words[words.index("tokens") + 1], words[words.index("sentences") + 1]
        for batch in batches:
            longest = max(index % 13 + 1 for index in batch)
            assert tokens == "None" or len(batch) * longest <= int(tokens)
            assert sentences == "None" or len(batch) <= int(sentences)


def test_bucketed_and_filtered_data_sets(plain, repaired):
    assert sorted(index for batch in repaired["bucketed"][0] for index in batch) == list(range(27))
    assert repaired["filtered"] == [0, 1, 2]
    defect(plain["bucketed"] != repaired["bucketed"])
    assert "interpolation" in plain["bucketed"]["text"]


def test_resumed_epochs_use_the_same_batches_in_the_same_order(plain, repaired):
    assert repaired["uninterrupted"] == plain["uninterrupted"]
    assert repaired["resumed"] == repaired["uninterrupted"][1:]
    assert repaired["rebuilt_resumed"] == repaired["rebuilt"][1:] != repaired["uninterrupted"][1:2]
    defect(plain["resumed"] != repaired["resumed"])
    assert plain["resumed"] != plain["uninterrupted"][1:]


def test_bf16_is_not_a_wish_for_a_tpu(plain, repaired):
    assert repaired["tpu"] == {"none": False, "--bf16": False, "--bf16 --tpu": True}
    defect(plain["tpu"] != repaired["tpu"])
    assert plain["tpu"]["--bf16"]


def test_names_that_numpy_removed(plain, repaired):
    assert repaired["eos_blocks"] == 27
    defect(plain["eos_blocks"] != 27)
    assert "compat" in plain["eos_blocks"]["text"]


def test_validate_needs_no_task(plain, repaired):
    assert repaired["validate_task"] == "x"
    defect(plain["validate_task"] != "x")
    assert plain["validate_task"]["error"] == "KeyError"


def test_checkpoints_load_safely(plain, repaired):
    good = repaired["checkpoints"]["good"]
    assert "Namespace(width=8)" in good and "array([1.5, 2.5])" in good
    assert not repaired["checkpoints"]["ran"]
    defect(plain["checkpoints"]["good"] != good)
    assert "Namespace was not an allowed global" in plain["checkpoints"]["good"]["text"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("forbidden", "holds the type posix.system"),
        ("truncated", "truncated or not a checkpoint"),
        ("empty", "truncated or not a checkpoint"),
        ("text", "not a whole fairseq checkpoint"),
        ("foreign", "not a whole fairseq checkpoint"),
        ("plain", "truncated or not a checkpoint"),
        ("missing", "No such file or directory"),
    ],
)
def test_bad_checkpoints_are_named_in_one_line(repaired, name, words):
    found = repaired["checkpoints"][name]
    assert found["error"] == "UserError"
    assert f"{name}.pt" in found["text"] and words in found["text"]
    assert "\n" not in found["text"] and len(found["text"]) < 400


def test_missing_models_and_unwritable_folders_are_named(repaired):
    assert "missing.pt: no such file" in repaired["checkpoints"]["ensemble"]["text"]
    save_dir = repaired["checkpoints"]["save_dir"]
    assert save_dir["error"] == "UserError" and save_dir["text"].startswith("--save-dir ")


def test_an_unsafe_environment_runs_code_only_without_the_repair(plain, repaired):
    assert not repaired["checkpoints"]["ran"]
    defect(plain["checkpoints"]["ran"])


def test_a_broken_copy_leaves_the_old_checkpoint(plain, repaired):
    assert repaired["copy"] == {"failed": True, "old_kept": True, "whole": True, "files": ["target"]}
    defect(plain["copy"] != repaired["copy"])
    assert plain["copy"]["failed"] and not plain["copy"]["old_kept"]


def test_a_checkpoint_reaches_the_other_ranks(plain, repaired):
    assert repaired["broadcast"] == [True, True]
    defect(plain["broadcast"] != [True, True])
    assert plain["broadcast"]["error"] == "UnpicklingError"


def test_loss_scalers_are_in_the_checkpoint(plain, repaired):
    assert repaired["loss_scalers"] == {"fp16": True, "amp": True}
    defect(plain["loss_scalers"] != repaired["loss_scalers"])
    assert plain["loss_scalers"] == {"fp16": False, "amp": False}


def test_silent_launches_are_refused(plain, repaired):
    found = repaired["launches"]
    assert found.pop("one") == [1]
    for name, outcome in found.items():
        assert outcome["error"] == "UserError", name
        assert "examples/launch_cpu.sh 2 " in outcome["text"], name
    defect(plain["launches"] != repaired["launches"])
    assert plain["launches"]["spawn"] == []  # nothing trained, no complaint
    assert plain["launches"]["torchrun"] == [1]  # trained alone


def test_harmless_noise_is_silent(plain, repaired):
    def noise(text: str) -> list[str]:
        lines = [line for line in text.splitlines() if "Warning: " in line]
        return [word for word in NOISE if any(word in line for line in lines)]

    assert noise(repaired["stderr"]) == []
    defect(bool(noise(plain["stderr"])))
    assert "hydra" in noise(plain["stderr"])


@pytest.fixture(scope="module")
def runs(bench):
    """Runs of the real commands with the repairs, in one process: the printed output by step."""
    plugin = ["--user-dir", str(bench / "repairs_only")]

    def train(name: str, *flags: str) -> list[str]:
        folder = str(bench / "runs" / name)
        return ["fairseq-train", str(bench / "bin"), *TINY, *plugin, "--save-dir", folder, *flags]

    full = str(bench / "runs" / "full" / "checkpoint_last.pt")
    data = [str(bench / "bin"), *plugin, "--cpu", "--num-workers", "0", "--path", full]
    three = ("--max-epoch", "3", "--dropout", "0.1")
    steps = [
        train("full", *three),
        train("epoch", *three, "--max-epoch", "1"),
        train("epoch", *three),
        train("middle", *three, "--max-update", "8"),
        train("middle", *three),
        train("bf16", "--bf16", "--max-epoch", "1"),
        train("buckets", "--num-batch-buckets", "2", "--max-epoch", "1"),
        train("patience", "--patience", "3", "--lr", "0", "--max-epoch", "2"),
        train("patience", "--patience", "3", "--lr", "0"),
        ["fairseq-generate", *data, "--beam", "2", "--batch-size", "4", "--results-path", str(bench / "out")],
        ["fairseq-validate", *data, "--max-tokens", "64"],
        ["fairseq-interactive", *data, "--input", str(bench / "test.a"), "--beam", "1"],
    ]
    return run_steps(steps, bench)


def load(bench: Path, name: str) -> dict:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(bench / "runs" / name / "checkpoint_last.pt", weights_only=True)


@pytest.mark.parametrize("name", ["epoch", "middle"])
def test_resumed_training_is_bit_identical(bench, runs, name):
    full, resumed = load(bench, "full"), load(bench, name)
    assert full["model"].keys() == resumed["model"].keys()
    assert all(torch.equal(value, resumed["model"][key]) for key, value in full["model"].items())
    states = [found["last_optimizer_state"]["state"] for found in (full, resumed)]
    assert all(torch.equal(states[0][key]["exp_avg_sq"], states[1][key]["exp_avg_sq"]) for key in states[0])


def test_bf16_trains_on_cpu(bench, runs):
    state = load(bench, "bf16")
    assert state["cfg"]["common"]["bf16"] and not state["cfg"]["common"]["tpu"]
    weight = state["model"]["encoder.embed_tokens.weight"]  # fairseq saves it as float32
    assert torch.equal(weight, weight.bfloat16().float()) and weight.abs().sum() > 0


def test_patience_goes_on_counting_after_a_resume(bench, runs):
    """With learning rate 0 nothing improves: best in epoch 1, then three validations without progress."""
    state = load(bench, "patience")
    assert state["extra_state"]["train_iterator"]["epoch"] == 5
    assert state["extra_state"]["early_stopping"]["num_runs"] == 3


def test_every_test_sentence_is_translated_and_validated(bench, runs):
    lines = (bench / "out" / "generate-test.txt").read_text().splitlines()
    translated = sorted(line.split("\t")[0] for line in lines if line.startswith("H-"))
    assert translated == [f"H-{i}" for i in range(5)]
    assert sum(line.startswith("H-") for line in runs.stdout.splitlines()) == 5
    valid = [line for line in runs.stdout.splitlines() if "valid on 'valid' subset" in line]
    assert valid[-1].split("bsz ")[1].split(" ")[0] == "11"


HOOK = f"""
import logging, sys, threading, time, types
package = types.ModuleType("fairseq_mos"); package.__path__ = [{str(ROOT / "fairseq_mos")!r}]
sys.modules["fairseq_mos"] = package
from fairseq_mos.compat import report_user_errors
from fairseq_mos.errors import UserError
assert report_user_errors() and not report_user_errors()
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
"""
LINE = "fairseq-mos: error: bad"
SPAWNED = "class ProcessRaisedException(Exception): pass\nraise ProcessRaisedException('-- 0\\n{}: bad\\n')"
THREAD = "threading.Thread(target=lambda: (time.sleep(0.3), print('end'))).start()\n"


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        ("raise UserError('bad')", 2, LINE),
        ("raise UserError('bad\\nbadly')", 2, LINE + " badly"),
        ("raise UserError('Caught\\nTraceback\\nfairseq_mos.errors.UserError: bad')", 2, LINE),
        ("try:\n 1/0\nexcept Exception as e: raise UserError('bad') from e", 2, LINE),
        ("logging.info('x'); raise UserError('bad')", 2, LINE),
        (THREAD + "raise UserError('bad')", 2, LINE),
        (SPAWNED.format("fairseq_mos.errors.UserError"), 2, LINE),
        (SPAWNED.format("ValueError"), 1, None),
        ("raise ValueError('UserError is one, this is not')", 1, None),
        ("sys.exit(3)", 3, None),
    ],
)
def test_user_errors_end_in_one_line_and_exit_code_2(code, status, line):
    done = subprocess.run([sys.executable, "-c", HOOK + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    if line is None:
        assert "fairseq-mos: error" not in done.stderr
        assert ("Traceback" in done.stderr) == (status == 1)
    else:
        assert done.stderr.splitlines() == [line]
    if "Thread" in code:  # the usual shutdown waits for threads
        assert "end" in done.stdout
