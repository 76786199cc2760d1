"""Every command of the README and of our scripts' comments parses."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from fairseq import options

from fairseq_mos.cli import VERBS, build_parser
from tests.fairseq_commands import ROOT

PARSERS = {
    "fairseq-train": options.get_training_parser,
    "fairseq-generate": options.get_generation_parser,
    "fairseq-preprocess": options.get_preprocessing_parser,
}


def _commands() -> list[list[str]]:
    texts = [path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("examples/*/README.md")))]
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", "\n".join(texts), flags=re.S)).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in blocks.splitlines()]
    return [words for words in lines if words]


@pytest.mark.parametrize("words", _commands(), ids=lambda words: " ".join(words[:3]))
def test_command_parses(words, monkeypatch):
    command, *arguments = words
    monkeypatch.chdir(ROOT)
    if command in PARSERS:
        parser = PARSERS[command]()
        if command == "fairseq-preprocess":
            parser.parse_args(arguments)
        else:
            options.parse_args_and_arch(parser, input_args=arguments)
    elif command == "fairseq-mos":
        build_parser(arguments[0]).parse_args(arguments)
    elif command == "bash":
        script, *flags = arguments
        assert (ROOT / script).is_file()
        if script.startswith("examples") and not script.endswith("launch_cpu.sh"):
            known = subprocess.run(["bash", script, "--help"], capture_output=True, text=True).stdout
            assert all(flag in known for flag in flags if flag.startswith("--"))
    else:
        assert command == "python" and (ROOT / arguments[0]).is_file()


def test_every_verb_and_flag_of_the_tables_exists():
    text = (ROOT / "README.md").read_text()
    verbs = text[text.index("### `fairseq-mos`") : text.index("## How it works")]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", verbs, flags=re.M)) == set(VERBS)
    help_text = options.get_training_parser()
    parsed = [
        *("x", "--user-dir", str(ROOT / "fairseq_mos"), "--task", "supernet_translation"),
        *("--arch", "mos_transformer", "--criterion", "supernet_label_smoothed_cross_entropy"),
    ]
    options.parse_args_and_arch(help_text, input_args=parsed)
    known = help_text.format_help()
    table = text[text.index("### Flags") : text.index("All other flags")]
    flags = set(re.findall(r"`(--[a-z-]+)", table)) - {"--subnet"}
    assert len(flags) > 10 and all(flag in known for flag in flags)
