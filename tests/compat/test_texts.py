"""Flags of JSON, and of Python's dictionaries."""

from __future__ import annotations

import sys

import pytest
from fairseq import options

import fairseq_mos
from fairseq_mos.errors import UserError
from tests.fairseq_commands import TINY, run

fairseq_mos.register()

BAD = {
    "{": "malformed JSON: ",
    "": "malformed JSON: ",
    "[1]": "expected `?object`?, got `?array`?",
    '{"beam": NaN}': "malformed JSON: NaN is no number",
    '{"beam": 0}': "beam is 0, allowed: 1 to",
    '{"beam": "x"}': "beam is 'x', allowed: 1 to",
    '{"lenpen": 1e999}': "malformed JSON: ",
}


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("flag", ["--eval-bleu-args", "--eval-bleu-detok-args"])
def test_json(flag, text):
    with pytest.raises(UserError, match=f"^{flag}: {BAD[text]}"):
        options.parse_args_and_arch(
            options.get_training_parser(), ["data", "--arch", "transformer", "--eval-bleu", flag, text]
        )


@pytest.mark.parametrize("text", ["{", "", "[1]", "x", "{'a': open('x')}", "{'a': b}"])
@pytest.mark.parametrize(
    ("parser", "flags"),
    [
        (options.get_generation_parser, ["--path", "x", "--model-overrides"]),
        (options.get_validation_parser, ["--task", "translation", "--path", "x", "--model-overrides"]),
        (options.get_training_parser, ["--arch", "transformer", "--optimizer-overrides"]),
        (options.get_training_parser, ["--arch", "transformer", "--lr-scheduler", "manual", "--epoch2lr"]),
    ],
)
def test_dictionaries(parser, flags, text):
    with pytest.raises(UserError, match=rf"^{flags[-1]} is ['\"].*['\"], allowed: a dictionary"):
        options.parse_args_and_arch(parser(), ["data", *flags, text])


def test_what_is_allowed():
    words = ["data", "--arch", "transformer", "--eval-bleu-args", '{"beam": 4, "max_len_a": 1.2, "x": null}']
    options.parse_args_and_arch(options.get_training_parser(), words)
    words = ["data", "--path", "x", "--model-overrides", "{'data': 'there', 'dropout': 0.1}"]
    options.parse_args_and_arch(options.get_generation_parser(), words)


def test_the_command_says_it_in_one_line(bench, tmp_path):
    plugin = ["--user-dir", str(bench / "repairs_only"), "--eval-bleu", "--eval-bleu-args", "{x"]
    command = [sys.executable, "-m", "fairseq_cli.train", str(bench / "bin"), *TINY, *plugin]
    done = run(command, tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("fairseq-mos: error: --eval-bleu-args: malformed JSON: ")
