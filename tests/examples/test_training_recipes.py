"""Published hyper-parameters: command lines, YAML files and fairseq agree; the batch does not depend on the GPUs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed.utils import infer_init_method
from omegaconf import OmegaConf

from fairseq_mos.report.content import find_pair
from fairseq_mos.report.discover import discover
from fairseq_mos.tasks.options import dealer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from corpora import hydra  # noqa: E402
from corpora.recipes import RECIPES  # noqa: E402
from corpora.training import (  # noqa: E402
    HOWS,
    OWN_BATCHES,
    PUBLISHED,
    RECIPES_OF_TRAINING,
    ROUTINGS,
    STAGES,
    main,
    train_flags,
)

from tests.fairseq_commands import run  # noqa: E402

PLUGIN = str(ROOT / "fairseq_mos")


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("stage", list(STAGES))
def test_the_shipped_yaml_says_what_the_command_line_says(name, stage):
    text = (ROOT / "configs" / "train" / f"{name}_{stage}.yaml").read_text()
    assert text == hydra.text_of(name, stage), "run PYTHONPATH=examples python -m corpora.hydra"


@pytest.mark.parametrize(
    ("name", "stage", "how"),
    [
        ("wmt14_en_de", "supernet", PUBLISHED),
        ("iwslt14_de_en", "retrain", PUBLISHED),
        ("wmt14_en_de", "retrain", OWN_BATCHES),
        ("iwslt14_de_en", "supernet", OWN_BATCHES),
    ],
)
def test_fairseq_hydra_train_reads_the_yaml_as_fairseq_train_the_flags(name, stage, how, tmp_path):
    overrides = [f"common.user_dir={PLUGIN}", "task.data=DATA"]
    if stage != "supernet":
        overrides += ["model.subnet=search/best.yaml", "checkpoint.finetune_from_model=subnet/model.pt"]
    # What the file's head says of that.
    said = (ROOT / "configs" / "train" / f"{name}_{stage}.yaml").read_text().partition("own-batches): ")[2]
    overrides += shlex.split(said.partition("\n")[0]) if how == OWN_BATCHES else []
    command = ["fairseq-hydra-train", "--config-dir", str(ROOT / "configs/train"), "--config-name", f"{name}_{stage}"]
    done = run([*command, *overrides, "--cfg", "job", "--resolve"], tmp_path)
    found = yaml.safe_load(done.stdout)
    flags = train_flags(name, stage, "DATA", "checkpoints", 8, user_dir=PLUGIN, how=how)
    expected = hydra.parse_flags([*flags, "--distributed-world-size", "8"])
    for group in ("optimization", "optimizer", "lr_scheduler", "criterion", "model", "dataset", "checkpoint", "task"):
        for key, value in found[group].items():
            if key in expected[group] and key not in ("_name", "fp16_no_flatten_grads"):
                assert _plain(value) == _plain(expected[group][key]), f"{group}.{key}"


def _plain(value):
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value.replace(" ", "")
    return value


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("gpus", [1, 4, 8, 16])
def test_an_update_has_the_same_tokens_on_any_number_of_gpus(name, gpus):
    config = hydra.parse_flags(train_flags(name, "supernet", "DATA", "x", gpus, user_dir=PLUGIN))
    tokens = gpus * config["dataset"]["max_tokens"] * config["optimization"]["update_freq"][0]
    assert tokens == RECIPES_OF_TRAINING[name].batch == (4096 if "iwslt" in name else 4096 * 128)


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("gpus", [1, 4, 8, 16])
def test_architectures_with_batches_of_their_own_are_as_much_work(name, gpus):
    published, own = (
        hydra.parse_flags(train_flags(name, "supernet", "DATA", "x", gpus, user_dir=PLUGIN, how=how)) for how in HOWS
    )
    (update_freq,), tokens = own["optimization"]["update_freq"], own["dataset"]["max_tokens"]
    assert gpus * tokens * update_freq == RECIPES_OF_TRAINING[name].batch, "an update has as many tokens"
    task = OmegaConf.create(own["task"])
    dealt = [dealer(task, [update_freq], rank, gpus) for rank in range(gpus)]
    turns = [one.next(5) for one in dealt for _ in range(update_freq)]
    # All architectures, as often: a third of the work of three on all batches.
    assert len({turns.count(turn) for turn in turns}) == 1 and set(turns) == set(range(2 + task.num_random_archs))
    assert own["optimization"]["max_update"] == 3 * published["optimization"]["max_update"]
    assert own["model"]["encoder_normalize_before"] and own["model"]["decoder_normalize_before"]
    assert own["lr_scheduler"]["_name"] == "cosine" and own["optimization"]["lr"] == published["optimization"]["lr"]


@pytest.mark.parametrize("stage", ["scratch", "retrain"])
def test_subnets_have_the_normalisation_of_their_supernet(stage, capsys):
    flags = {how: train_flags("wmt14_en_de", stage, "DATA", "x", user_dir=PLUGIN, how=how) for how in HOWS}
    norms = ["--encoder-normalize-before", "--decoder-normalize-before"]
    assert [flag for flag in flags[OWN_BATCHES] if flag not in norms] == flags[PUBLISHED]
    assert set(norms) < set(flags[OWN_BATCHES])
    assert main(["wmt14_en_de", stage, "--print", "--recipe", "own-batches"]) == 0
    assert f"--save-dir checkpoints/wmt14_en_de-own-batches/{stage} " in capsys.readouterr().out


def test_the_published_hyper_parameters():
    config = hydra.parse_flags(train_flags("wmt14_en_de", "supernet", "DATA", "x", user_dir=PLUGIN))
    model, scheduler, optimizer = config["model"], config["lr_scheduler"], config["optimizer"]
    assert (model["search_space"], model["dropout"], model["attention_dropout"]) == ("wmt", 0.3, 0.1)
    assert model["share_all_embeddings"] and config["criterion"]["label_smoothing"] == 0.1
    assert (scheduler["_name"], scheduler["warmup_updates"], scheduler["min_lr"]) == ("cosine", 10000, 1e-7)
    assert config["optimization"]["lr"] == [1e-3] and config["optimization"]["max_update"] == 40000
    assert (optimizer["adam_betas"], optimizer["weight_decay"]) == ("(0.9, 0.98)", 0)
    config = hydra.parse_flags(train_flags("iwslt14_de_en", "scratch", "DATA", "x", user_dir=PLUGIN))
    assert config["optimization"]["clip_norm"] == 25 and config["optimizer"]["weight_decay"] == 1e-4
    assert config["lr_scheduler"]["warmup_updates"] == 4000 and config["optimization"]["max_update"] == 50000
    assert not config["model"]["share_all_embeddings"] and config["model"]["dropout"] == 0.375


@pytest.mark.parametrize("routing", ROUTINGS)
def test_every_routing_parses(routing):
    flags = train_flags("wmt14_en_de", "supernet", "DATA", "x", routing=routing, user_dir=PLUGIN)
    model = hydra.parse_flags(flags)["model"]
    assert model["routing"] == routing and model["num_experts"] == (1 if routing == "shared" else 2)


def test_commands_for_one_node_and_several(capsys):
    for arguments, begin in (
        (["--gpus", "4"], "fairseq-train "),
        (["--gpus", "16", "--nodes", "2"], "torchrun --nnodes 2 --nproc-per-node 8 "),
        (
            ["--gpus", "16", "--nodes", "2", "--slurm"],
            "srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 fairseq-train ",
        ),
    ):
        assert main(["wmt14_en_de", "supernet", "--print", *arguments, "--", "--no-save"]) == 0
        command = capsys.readouterr().out.strip()
        assert command.startswith("mkdir -p checkpoints/wmt14_en_de/supernet_neuron && " + begin)
        flags = _train_words(command)
        assert "--no-save" in flags
        config = hydra.parse_flags(flags)
        assert config["distributed_training"]["distributed_world_size"] == int(arguments[1])


def _train_words(command: str) -> list[str]:
    """Returns fairseq-train's arguments of a printed line."""
    words = shlex.split(command)
    return words[words.index("fairseq-train") + 1 : words.index("2>&1")]


def test_one_node_through_slurm(capsys):
    assert main(["wmt14_en_de", "supernet", "--gpus", "4", "--slurm"]) == 0
    assert "&& srun --nodes 1 --ntasks-per-node 4 --gpus-per-node 4 fairseq-train " in capsys.readouterr().out


def test_one_gpu_a_node_trains_together(capsys, monkeypatch):
    """What fairseq makes of the printed line on the second of two nodes."""
    assert main(["wmt14_en_de", "supernet", "--gpus", "2", "--nodes", "2"]) == 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"MASTER_ADDR": "a", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    command = capsys.readouterr().out
    parsed = options.parse_args_and_arch(options.get_training_parser(), input_args=_train_words(command))
    config = convert_namespace_to_omegaconf(parsed).distributed_training
    infer_init_method(config)
    assert config.distributed_init_method == "env://" and config.distributed_no_spawn
    assert (config.distributed_world_size, config.distributed_rank, config.device_id) == (2, 1, 0)


def test_paths_are_those_of_the_callers_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["wmt14_en_de", "retrain", "--print", "--save-dir", "here", "--subnet", "a.yaml"]) == 0
    flags = _train_words(capsys.readouterr().out)
    values = {flag: flags[flags.index(flag) + 1] for flag in ("--user-dir", "--save-dir", "--subnet")}
    assert values == {"--user-dir": PLUGIN, "--save-dir": "here", "--subnet": "a.yaml"}
    assert flags[0] == str(ROOT / "examples/wmt14_en_de/work/all/data-bin")
    monkeypatch.chdir(ROOT)
    assert main(["wmt14_en_de", "retrain", "--print"]) == 0
    flags = _train_words(capsys.readouterr().out)
    assert flags[:3] == ["examples/wmt14_en_de/work/all/data-bin", "--user-dir", "fairseq_mos"]


def test_the_log_is_what_the_report_looks_for(tmp_path, capsys, monkeypatch):
    """The printed lines are run, with a fairseq-train that only prints."""
    (tmp_path / "fairseq-train").write_text(
        "#!/bin/sh\necho '2024-01-01 | INFO | train_inner | {\"num_updates\": \"10\", \"loss\": \"5\"}' >&2\n"
        "echo '2024-01-01 | INFO | valid | {\"valid_num_updates\": \"10\", \"valid_loss\": \"4\"}'\n"
        "exit $CODE\n"
    )
    (tmp_path / "fairseq-train").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)
    for stage in ("scratch", "retrain"):
        assert main(["iwslt14_de_en", stage, "--print"]) == 0
        command = capsys.readouterr().out
        for code in ("0", "3"):
            done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], env={**os.environ, "CODE": code})
            assert done.returncode == int(code)
    pair = find_pair(discover(tmp_path / "checkpoints"))
    assert [log.name for log in pair] == ["scratch", "retrain"] and pair[0].valid == {"": {10: 4.0}}


def test_wrong_flags_and_help_come_before_an_installation(tmp_path):
    for flags, code in ((["supernet", "--gpus", "3"], 2), (["supernet", "--help"], 0), (["--", "x"], 2)):
        command = ["bash", str(ROOT / "examples/wmt14_en_de/train.sh"), *flags]
        # The active environment is one that cannot be used.
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "VIRTUAL_ENV": str(tmp_path)}, capture_output=True, text=True
        )
        assert done.returncode == code and "bootstrap" not in done.stderr
        assert done.stdout.startswith("usage:") if code == 0 else done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["supernet"],
            "examples/wmt14_en_de/work/all/data-bin does not exist: run examples/wmt14_en_de/prepare.sh first",
        ),
        (["supernet", "--gpus", "3"], "--gpus is 3, allowed: a number that divides 524288 tokens"),
        (["supernet", "--gpus", "4096"], "--gpus is 4096, allowed: 2088 at most"),
        (["supernet", "--gpus", "8", "--nodes", "3"], "--gpus 8 cannot be shared by --nodes 3"),
        (["retrain", "--data", "."], "search/best.yaml does not exist"),
        (["pretrain"], "invalid choice: 'pretrain'"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(["wmt14_en_de", *arguments])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and message in err and err.count("\n") == 1


def test_a_gpu_has_to_take_the_longest_sentence(capsys):
    assert main(["iwslt14_de_en", "supernet", "--print", "--gpus", "16"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["iwslt14_de_en", "supernet", "--print", "--gpus", "32"])
    assert stop.value.code == 2 and "allowed: 16 at most" in capsys.readouterr().err
