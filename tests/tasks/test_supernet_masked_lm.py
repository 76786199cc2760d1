"""Masked language models end to end: train, resume, validate, search, extract, fine-tune."""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest
import torch

from fairseq_mos.cli import main
from fairseq_mos.families import family_of
from fairseq_mos.models.opening import load_bundle, open_model
from tests import fairseq_commands as commands
from tests.families.masked_lm.commands import DATA, TRAIN, workspace
from tests.supernet_commands import PLUGIN, difference, weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = workspace(tmp_path_factory.mktemp("masked_lm"))
    done = commands.run_steps([[*TRAIN, "--save-dir", "full"]], folder)
    return folder, done.stderr + done.stdout


def _copy(folder, other):
    shutil.copytree(folder / "bin", other / "bin")
    shutil.copy(folder / "space.yaml", other)


def test_roles_are_logged_and_losses_fall(trained):
    _, log = trained
    valid = re.findall(r"\| valid \|.*", log)
    for role in ("largest", "random", "random2", "smallest"):
        losses = [float(re.search(rf"{role}_loss ([\d.]+)", line).group(1)) for line in valid]
        assert losses[-1] < losses[0] < 6, role
    assert "nll_loss" not in log


def test_the_evaluator_s_loss_is_that_of_fairseq_validate(trained):
    folder, _ = trained
    validate = ["fairseq-validate", "bin", *PLUGIN, "--path", "full/checkpoint_last.pt", *DATA, "--cpu"]
    validate += ["--batch-size", "4", "--task", "supernet_masked_lm", "--architecture"]
    opened = open_model(folder / "full" / "checkpoint_last.pt")
    evaluator = family_of(opened.space).evaluator(opened, str(folder / "bin"), "valid", 100, True, "fp32")
    for name in ("smallest", "largest"):
        done = commands.run_steps([[*validate, name]], folder)
        printed = float(re.search(r"\| loss ([\d.]+)", done.stderr + done.stdout).group(1))
        found = evaluator.evaluate(getattr(opened.space, name)())["loss"]
        assert found == pytest.approx(printed, abs=0.006)  # fairseq rounds to two or three digits
        assert found == evaluator.evaluate(getattr(opened.space, name)())["loss"]


def test_stopped_and_resumed_equals_uninterrupted(trained, tmp_path):
    folder, _ = trained
    _copy(folder, tmp_path)
    steps = [[*TRAIN, "--save-dir", "parts", *flags] for flags in (["--max-update", "4"], ["--max-epoch", "2"])]
    commands.run_steps(steps[:1], tmp_path)
    commands.run_steps(steps[1:], tmp_path)
    assert difference(folder / "full" / "checkpoint_last.pt", tmp_path / "parts" / "checkpoint_last.pt") == 0


def test_two_ranks_equal_one_process_with_doubled_update_freq(trained, tmp_path):
    folder, _ = trained
    _copy(folder, tmp_path)
    options = ["--max-update", "3", "--max-epoch", "9"]
    commands.run_steps([[*TRAIN, *options, "--update-freq", "2", "--save-dir", "one"]], tmp_path)
    launcher = ["bash", str(commands.ROOT / "examples" / "launch_cpu.sh"), "2"]
    commands.run([*launcher, *TRAIN, *options, "--save-dir", "two"], tmp_path)
    assert difference(tmp_path / "one" / "checkpoint_last.pt", tmp_path / "two" / "checkpoint_last.pt") < 1e-6


def test_search_in_a_window_extraction_and_fine_tuning(trained, tmp_path, capsys):
    folder, _ = trained
    supernet, data = str(folder / "full" / "checkpoint_last.pt"), str(folder / "bin")
    space = open_model(supernet).space
    sizes = {arch: family_of(space).counts(arch)["params_budget"] for arch in (space.largest(), space.smallest())}
    low, high = sorted(sizes.values())
    limits = ["--constraint", f"params_budget>={low + 1}", "--constraint", f"params_budget<{high}"]
    search = ["search", data, "--path", supernet, "--algorithm", "exhaustive", "--cpu", "--output", str(tmp_path / "s")]
    assert main([*search, *limits]) == 0
    rows = [json.loads(line) for line in (tmp_path / "s" / "evaluations.jsonl").read_text().splitlines()]
    found = [row["params_budget"] for row in rows if "params_budget" in row]
    assert found and all(low < size < high for size in found)
    extract = ["extract", "--path", supernet, "--architecture", str(tmp_path / "s" / "best.yaml"), "--data", data]
    assert main([*extract, "--output", str(tmp_path / "sub" / "subnet.pt")]) == 0
    assert "supernet" in capsys.readouterr().out
    bundle = load_bundle(tmp_path / "sub" / "subnet.pt")
    opened = open_model(supernet, data).model
    opened.activate(bundle.model.architecture)
    tokens = torch.tensor([[0, 5, 6, 7, 2]])
    assert torch.equal(opened(tokens)[0], bundle.model(tokens)[0])
    # Sentences with one of two labels, for fairseq's own task.
    for part in ("input0", "label"):
        (tmp_path / part).mkdir()
    for split, source in (("train", "train"), ("valid", "valid")):
        lines = (folder / source).read_text().splitlines()
        (tmp_path / "input0" / split).write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / "label" / split).write_text("".join("ab"[len(line.split()) % 2] + "\n" for line in lines))
    steps = []
    for part, flags in (("input0", ["--srcdict", f"{data}/dict.txt"]), ("label", [])):
        prefixes = ["--trainpref", f"{part}/train", "--validpref", f"{part}/valid"]
        steps.append(["fairseq-preprocess", "--only-source", *prefixes, "--destdir", f"tuned/{part}", *flags])
    tune = ["fairseq-train", "tuned", *PLUGIN, "--task", "sentence_prediction", "--arch", "mos_roberta_subnet"]
    tune += ["--subnet", "sub/subnet.pt", "--restore-file", "sub/subnet.pt", "--reset-optimizer", "--reset-dataloader"]
    tune += ["--reset-meters", "--criterion", "sentence_prediction", "--classification-head-name", "head"]
    tune += ["--num-classes", "2", "--max-positions", "16", "--init-token", "0", "--separator-token", "2"]
    tune += ["--optimizer", "adam", "--lr", "0.001", "--batch-size", "8", "--max-epoch", "1", "--cpu"]
    done = commands.run_steps([*steps, [*tune, "--save-dir", "out", "--log-format", "simple"]], tmp_path)
    assert "accuracy" in done.stderr + done.stdout
    state = weights(tmp_path / "out" / "checkpoint_last.pt")
    assert state["classification_heads.head.out_proj.weight"].shape == (2, bundle.model.architecture.encoder.embed_dim)
    assert not load_bundle(tmp_path / "out" / "checkpoint_last.pt", data=data).model.classification_heads


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--objectives", "bleu"], "--objectives bleu: bleu is for translation; of masked_lm there are"),
        (["--constraint", "params_budget<=10"], "cannot be met"),
        (["--constraint", "params_budget<=9e5", "--constraint", "params_budget>9e5"], "contradict"),
        (["--max-tokens", "5"], "raise --max-tokens"),
        (["--valid-subset", "nope"], "split 'nope' of"),
    ],
)
def test_bad_searches_are_one_line(trained, tmp_path, capsys, flags, message):
    folder, _ = trained
    search = ["search", str(folder / "bin"), "--path", str(folder / "full" / "checkpoint_last.pt"), "--cpu"]
    assert main([*search, "--output", str(tmp_path / "s"), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count("\n") == 0 and "weights" not in error


def test_profile_says_what_is_too_long(trained, tmp_path, capsys):
    folder, _ = trained
    profile = ["profile", "--path", str(folder / "full" / "checkpoint_last.pt"), "--data", str(folder / "bin")]
    profile += ["--latency", "--runs", "4"]
    assert main(profile) == 2
    assert "--source-tokens is 30, allowed: 1 to 16" in capsys.readouterr().err
    assert main([*profile, "--source-tokens", "9", "--warmup", "0"]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--search-space", "tiny"], "--search-space tiny is of family translation, allowed: masked_lm"),
        (["--encoder-layers", "7"], "--encoder-layers 7 contradicts search space 'toy_bert', which says 3"),
        (["--encoder-layerdrop", "0.1"], "--encoder-layerdrop is not supported"),
        (["--layer-norm-eps", "2"], "--layer-norm-eps is 2.0, allowed"),
        (["--inplace-distillation", "0.5", "--arch-sampling", "uniform"], "needs --arch-sampling sandwich"),
    ],
)
def test_bad_trainings_are_one_line_and_exit_code_2(trained, tmp_path, flags, message):
    folder, _ = trained
    command = [sys.executable, "-m", "fairseq_cli.train", *TRAIN[1:], "--save-dir", str(tmp_path / "x"), *flags]
    done = commands.run(command, folder, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert message in done.stderr


def test_stock_models_need_the_stock_task(trained, tmp_path):
    folder, _ = trained
    command = [sys.executable, "-m", "fairseq_cli.train", "bin", *PLUGIN, "--task", "supernet_masked_lm", *DATA]
    command += ["--arch", "roberta_base", "--criterion", "masked_lm", "--batch-size", "8", "--cpu"]
    done = commands.run([*command, "--save-dir", str(tmp_path / "x")], folder, check=False)
    assert done.returncode == 2
    assert "task supernet_masked_lm needs a supernet (--arch mos_roberta_...): use --task masked_lm" in done.stderr
