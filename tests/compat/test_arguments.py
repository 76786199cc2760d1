"""Arguments that fairseq's parsers refuse: one line, exit code 2."""

from __future__ import annotations

import sys

import pytest
from fairseq import options

import fairseq_mos
from fairseq_mos.errors import UserError
from tests.fairseq_commands import run

fairseq_mos.register()

REFUSED = {
    "argument --max-epoch: invalid int value: 'abc'": ["--max-epoch", "abc"],
    "argument --lr: '0.1 0.2' is no list such as 1,2": ["--lr", "0.1 0.2"],
    "argument --update-freq: 'x' is no list such as 1,2": ["--update-freq", "x"],
    "argument --task: invalid choice: 'none'": ["--task", "none"],
    "unrecognized arguments: --no-such-flag": ["--arch", "transformer", "--no-such-flag"],
    "the following arguments are required: --arch": [],
    "argument --seed: expected one argument": ["--seed"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_arguments_that_argparse_refuses(message, capsys):
    with pytest.raises(UserError) as refused:
        options.parse_args_and_arch(options.get_training_parser(), ["data", *REFUSED[message]])
    assert str(refused.value).startswith(message) and str(refused.value).endswith(" (see --help)")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["train", "generate", "preprocess"])
def test_the_command_says_it_in_one_line(command, bench, tmp_path):
    words = [str(bench / "bin")] * (command != "preprocess") + ["--seed", "abc"]
    plugin = ["--user-dir", str(bench / "repairs_only")]
    done = run([sys.executable, "-m", f"fairseq_cli.{command}", *words, *plugin], tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == "fairseq-mos: error: argument --seed: invalid int value: 'abc' (see --help)\n"


def test_help_lists_what_the_named_task_model_and_criterion_add(capsys):
    flags = ["--task", "supernet_translation", "--arch", "mos_transformer_tiny", "--help"]
    flags += ["--criterion", "supernet_label_smoothed_cross_entropy"]
    with pytest.raises(SystemExit) as ended:
        options.parse_args_and_arch(options.get_training_parser(), flags)
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "--num-random-archs NUM_RANDOM_ARCHS random architectures per update (default: 1) [0 to 1,000]" in text
    assert "--num-experts" in text and "--distillation-warmup" in text


def test_help_without_a_required_flag(capsys):
    with pytest.raises(SystemExit):
        options.parse_args_and_arch(options.get_training_parser(), ["--help"])
    assert "--max-update" in capsys.readouterr().out
