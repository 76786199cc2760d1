"""Supernet training, validation, generation and resuming through fairseq's own commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from fairseq_mos.errors import UserError
from fairseq_mos.tasks.supernet import _check_distributed
from tests import fairseq_commands as commands
from tests.supernet_commands import PINNED, PLUGIN, TRAIN, difference, hypotheses, load, weights, workspace


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a trained supernet in `full`; returns the folder and what training printed."""
    folder = workspace(tmp_path_factory.mktemp("trained"))
    log = commands.run_steps([[*TRAIN, "--save-dir", "full", "--tensorboard-logdir", "tb"]], folder)
    return folder, log.stderr + log.stdout


def test_validation_logs_each_representative_and_their_mean(trained):
    folder, log = trained
    line = [part for part in log.splitlines() if "valid on 'valid' subset" in part][-1]
    values = {k: float(v) for k, v in re.findall(r"(\w+) (-?\d+\.\d+)", line)}
    roles = ("largest", "smallest", "random", "random2")
    for name in ("loss", "nll_loss"):
        mean = sum(values[f"{role}_{name}"] for role in roles) / 4
        assert values[name] == pytest.approx(mean, abs=2e-3)
    best = load(folder / "full" / "checkpoint_best.pt")["extra_state"]["val_loss"]
    assert best == pytest.approx(values["loss"], abs=2e-3)


def test_training_lowers_every_architecture_loss(trained):
    _, log = trained
    inner = [line for line in log.splitlines() if "train_inner" in line]
    for role in ("largest", "smallest", "random"):
        first, last = (float(re.search(rf"{role}_nll_loss=([\d.]+)", inner[i]).group(1)) for i in (0, -1))
        assert last < first - 0.3, role


def test_tensorboard_has_the_roles(trained):
    folder, _ = trained
    events = b"".join(p.read_bytes() for p in (folder / "tb").rglob("events.*"))
    assert b"largest_nll_loss" in events and b"smallest_nll_loss" in events


def test_pinned_supernet_and_extracted_subnet_generate_the_same(trained):
    folder, _ = trained
    extract = [sys.executable, "-m", "fairseq_mos.cli", "extract", "--path", "full/checkpoint_best.pt"]
    commands.run([*extract, "--architecture", "smallest.yaml", "--output", "small/subnet.pt"], folder)
    generate = ["fairseq-generate", "bin", *PLUGIN, "--beam", "3", "--max-tokens", "200", "--cpu"]
    outputs = {}
    for name, flags in {
        "pinned": ["--path", "full/checkpoint_best.pt", *PINNED, "smallest.yaml"],
        "by word": ["--path", "full/checkpoint_best.pt", *PINNED, "smallest"],
        "subnet": ["--path", "small/subnet.pt"],
        "largest": ["--path", "full/checkpoint_best.pt", *PINNED, "largest"],
        "unpinned": ["--path", "full/checkpoint_best.pt"],
    }.items():
        outputs[name] = hypotheses(commands.run_steps([[*generate, *flags]], folder).stdout)
        assert len(outputs[name]) == 5
    assert outputs["pinned"] == outputs["subnet"] == outputs["by word"]
    assert outputs["unpinned"] == outputs["largest"] != outputs["pinned"]


def test_validate_and_interactive_with_a_pinned_architecture(trained):
    folder, _ = trained
    validate = ["fairseq-validate", "bin", *PLUGIN, "--path", "full/checkpoint_best.pt", "--max-tokens", "200"]
    pinned = commands.run_steps([[*validate, "--cpu", *PINNED, "smallest.yaml"]], folder)
    every = commands.run_steps([[*validate, "--cpu", "--task", "supernet_translation"]], folder)
    pinned_loss = re.search(r"\| loss ([\d.]+)", pinned.stderr + pinned.stdout).group(1)
    smallest = re.search(r"smallest_loss ([\d.]+)", every.stderr + every.stdout).group(1)
    assert pinned_loss == smallest
    command = [sys.executable, "-m", "fairseq_cli.interactive", "bin", *PLUGIN, "--cpu"]
    command += ["--path", "full/checkpoint_best.pt", *PINNED, "smallest.yaml"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=commands.environment(),
        input="w1 w2 w3\nw4 w5\n",
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert len(hypotheses(done.stdout)) == 2


def test_checkpoint_does_not_need_the_yaml_files(trained, tmp_path):
    folder, _ = trained
    for name in ("bin", "full"):
        shutil.copytree(folder / name, tmp_path / name)
    generate = ["fairseq-generate", "bin", *PLUGIN, "--max-tokens", "200", "--cpu"]
    generate += ["--path", "full/checkpoint_best.pt"]
    moved = hypotheses(commands.run_steps([generate], tmp_path).stdout)
    assert moved == hypotheses(commands.run_steps([generate], folder).stdout)


def test_resuming_with_an_edited_space_is_refused(trained, tmp_path):
    folder, _ = trained
    for name in ("bin", "full"):
        shutil.copytree(folder / name, tmp_path / name)
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["decoder"]["arbitrary_attention"] = [-1, 1]
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    command = [sys.executable, "-m", "fairseq_cli.train", *TRAIN[1:], "--save-dir", "full"]
    done = commands.run(command, tmp_path, check=False)
    assert done.returncode == 2
    assert "another search space" in done.stderr


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    """SIGKILL in the middle, in the last save, after it and at the exit, and the same command again each time."""
    done = commands.run([sys.executable, "-m", "tests.experiments.kills", str(tmp_path), "--kills", "4"], tmp_path)
    assert done.stdout.splitlines()[-1] == "4 kills: 0 unequal"


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--routing", "split", "--split-gene", "decoder.layers", "--expert-scope", "all", "--modulation", "all"],
        ["--routing", "low-rank", "--expert-scope", "all"],
    ],
    ids=["neuron", "split", "low-rank"],
)
def test_two_ranks_equal_one_process_with_doubled_update_freq(trained, tmp_path, flags):
    folder, _ = trained
    shutil.copytree(folder / "bin", tmp_path / "bin")
    shutil.copy(folder / "space.yaml", tmp_path)
    options = [*flags, "--max-update", "5", "--max-epoch", "9"]
    commands.run_steps([[*TRAIN, *options, "--update-freq", "2", "--save-dir", "one"]], tmp_path)
    launcher = ["bash", str(commands.ROOT / "examples" / "launch_cpu.sh"), "2"]
    commands.run([*launcher, *TRAIN, *options, "--save-dir", "two"], tmp_path)
    one, two = tmp_path / "one/checkpoint_last.pt", tmp_path / "two/checkpoint_last.pt"
    assert difference(one, two) < 1e-6
    # Resuming on two ranks works as well and continues the same way.
    longer = [*flags, "--max-update", "7", "--max-epoch", "9"]
    commands.run_steps([[*TRAIN, *longer, "--update-freq", "2", "--save-dir", "one"]], tmp_path)
    commands.run([*launcher, *TRAIN, *longer, "--save-dir", "two"], tmp_path)
    assert difference(one, two) < 1e-6


def test_ddp_backend_is_chosen_or_refused():
    def check(backend, ranks=2):
        root = OmegaConf.create(
            {"distributed_training": {"distributed_world_size": ranks, "ddp_backend": backend}}
        )
        _check_distributed(root)
        return root.distributed_training.ddp_backend

    assert check("pytorch_ddp") == "legacy_ddp"
    assert check("no_c10d") == "no_c10d"
    assert check("fully_sharded", ranks=1) == "fully_sharded"
    for backend in ("fully_sharded", "slowmo"):
        with pytest.raises(UserError, match=f"--ddp-backend {backend} .*allowed: legacy_ddp, no_c10d"):
            check(backend)


@pytest.mark.parametrize(
    "flags",
    [["--bf16"], ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", "4"], ["--amp"]],
    ids=lambda flags: flags[0],
)
def test_half_precision_trains(trained, flags):
    folder, _ = trained
    name = flags[0][2:]
    steps = [[*TRAIN, *flags, "--max-update", "6", "--save-dir", name, "--validate-interval", "9"]]
    log = commands.run_steps(steps, folder)
    losses = re.findall(r"largest_nll_loss=([\d.]+)", log.stderr + log.stdout)
    assert len(losses) == 6 and float(losses[-1]) < float(losses[0])
    assert all(torch.isfinite(w.float()).all() for w in weights(folder / name / "checkpoint_last.pt").values())


def test_distillation_eval_bleu_and_pinned_training(trained):
    folder, _ = trained
    steps = [
        [*TRAIN, "--max-update", "3", "--inplace-distillation", "0.5", "--save-dir", "kd"],
        [*TRAIN, "--max-update", "3", "--eval-bleu", "--save-dir", "bleu", "--best-checkpoint-metric", "bleu"],
        [*TRAIN, "--max-update", "3", "--architecture", "smallest.yaml", "--save-dir", "pin"],
        [*TRAIN, "--max-update", "3", "--arch-sampling", "uniform", "--num-random-archs", "2", "--save-dir", "u"],
    ]
    done = commands.run_steps(steps, folder)
    log = done.stdout + done.stderr
    assert "| bleu " in log
    assert difference(folder / "kd/checkpoint_last.pt", folder / "bleu/checkpoint_last.pt") > 0
    pinned = load(folder / "pin/checkpoint_last.pt")
    assert pinned["cfg"]["task"]["architecture"].startswith("{"), "the architecture itself is embedded"
    unused = "decoder.layers.2.fc1.weight"
    assert torch.equal(
        pinned["model"][unused], load(folder / "pin/checkpoint_best.pt")["model"][unused]
    )
    assert "pinned_nll_loss" in log and "random2_nll_loss" in log


def test_hydra_train(trained):
    folder, _ = trained
    command = [sys.executable, "-m", "fairseq_cli.hydra_train"]
    command += ["--config-dir", str(commands.ROOT / "configs" / "train"), "--config-name", "supernet_tiny"]
    command += [f"task.data={folder / 'bin'}", f"common.user_dir={commands.ROOT / 'fairseq_mos'}"]
    command += [f"model.search_space={folder / 'space.yaml'}", "optimization.max_update=3"]
    command += ["common.cpu=true", "dataset.max_tokens=80"]
    commands.run([*command, f"hydra.run.dir={folder / 'hydra_run'}"], folder)
    saved = load(folder / "hydra_run/checkpoints/checkpoint_last.pt")
    assert saved["cfg"]["model"]["search_space_definition"].startswith("{")
    assert saved["optimizer_history"][-1]["num_updates"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--search-space", "none.yaml"], "none.yaml"),
        (["--encoder-layers", "5"], "--encoder-layers 5 contradicts"),
        (["--architecture", "foreign.yaml"], "foreign.yaml"),
        (["--architecture", "random:x"], "random:x"),
        (["--num-random-archs", "0", "--arch-sampling", "uniform"], "--num-random-archs 0"),
        (["--inplace-distillation", "2"], "--inplace-distillation is 2"),
        (["--inplace-distillation", "1", "--arch-sampling", "uniform"], "needs --arch-sampling sandwich"),
        (["--encoder-layerdrop", "0.1"], "--encoder-layerdrop is not supported"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(trained, flags, message):
    folder, _ = trained
    text = (folder / "smallest.yaml").read_text().replace("embed_dim: 24", "embed_dim: 28")
    (folder / "foreign.yaml").write_text(text)
    command = [sys.executable, "-m", "fairseq_cli.train", *TRAIN[1:], *flags, "--save-dir", "bad"]
    done = commands.run(command, folder, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("fairseq-mos: error:")]
    assert len(errors) == 1 and message in errors[0]


def test_stock_models_need_the_stock_task(trained):
    folder, _ = trained
    stock = ["--arch", "transformer_tiny", "--criterion", "label_smoothed_cross_entropy"]
    base = list(TRAIN[1:])
    i = base.index("--arch")
    base = base[:i] + base[i + 4 :]
    i = base.index("--criterion")
    base = base[:i] + base[i + 2 :]
    i = base.index("--router-hidden-dim")
    base = base[:i] + base[i + 2 :]
    i = base.index("--router-dropout")
    base = base[:i] + base[i + 2 :]
    done = commands.run([sys.executable, "-m", "fairseq_cli.train", *base, *stock], folder, check=False)
    assert done.returncode == 2 and "use --task translation" in done.stderr
