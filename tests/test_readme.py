"""Every command of the READMEs, of docs/ and of the YAML files' comments parses, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import yaml
from fairseq import options

from fairseq_mos.cli import VERBS, build_parser
from tests.fairseq_commands import ROOT

sys.path.insert(0, str(ROOT / "examples"))
from corpora.training import main  # noqa: E402

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/*/README.md"))]
PARSERS = {
    "fairseq-train": options.get_training_parser,
    "fairseq-generate": options.get_generation_parser,
    "fairseq-preprocess": options.get_preprocessing_parser,
}


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", "\n".join(page.read_text() for page in PAGES), flags=re.S)
    for path in sorted(ROOT.glob("configs/train/*.yaml")):
        comment = "\n".join(re.findall(r"^#(.*)$", path.read_text(), flags=re.M))
        # Indented, or between backquotes.
        blocks += [re.sub(r"^(?!  ).*$", "", comment.replace("\\\n", " "), flags=re.M)]
        blocks += [quoted for quoted in re.findall("`(.*?)`", comment) if " " in quoted]
    lines = [shlex.split(line, comments=True) for line in "\n".join(blocks).replace("\\\n", " ").splitlines()]
    return [list(words) for words in dict.fromkeys(map(tuple, lines)) if words]


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
        if script.endswith("train.sh") and not flags[0].startswith("-"):
            name = Path(script).parent.name
            assert main([name, *flags, *(["--print"] if "--print" not in flags else [])]) == 0
        elif script.startswith("examples") and not script.endswith("launch_cpu.sh"):
            verbs = takewhile(lambda word: not word.startswith("-"), flags)
            known = subprocess.run(["bash", script, *verbs, "--help"], capture_output=True, text=True).stdout
            assert all(flag in known for flag in flags if flag.startswith("--"))
    elif command == "fairseq-hydra-train":
        given = dict(zip(arguments[::2], arguments[1::2]))
        assert set(given) >= {"--config-dir", "--config-name"} and len(arguments) > 4
        config = yaml.safe_load((ROOT / given["--config-dir"] / f"{given['--config-name']}.yaml").read_text())
        for override in arguments[4:]:
            key = override.partition("=")[0].lstrip("+").split(".")
            assert key[0] in config, override
    elif "=" in command:
        # As written, from the repository's folder: the module has to be found.
        code = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({arguments[-1]!r}))"
        environment = dict([command.split("=")])
        assert arguments[:2] == ["python", "-m"]
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, cwd=ROOT)
        assert done.returncode == 0
    else:
        assert command == "python" and (ROOT / arguments[0]).is_file()


def test_every_verb_and_flag_of_the_tables_exists():
    readme, text = (ROOT / "README.md").read_text(), (ROOT / "docs/method.md").read_text()
    verbs = readme[readme.index("### `fairseq-mos`") : readme.index("## How it works")]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", verbs, flags=re.M)) == set(VERBS)
    help_text = options.get_training_parser()
    parsed = [
        *("x", "--user-dir", str(ROOT / "fairseq_mos"), "--task", "supernet_translation"),
        *("--arch", "mos_transformer", "--criterion", "supernet_label_smoothed_cross_entropy"),
    ]
    options.parse_args_and_arch(help_text, input_args=parsed)
    known = help_text.format_help()
    table = text[text.index("## Flags of training") : text.index("All other flags")]
    flags = set(re.findall(r"`(--[a-z-]+)", table)) - {"--subnet"}
    assert len(flags) > 10 and all(flag in known for flag in flags)


def test_readme_is_short_and_names_every_page():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    linked = set(re.findall(r"\]\(([^)#]*)", text))
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, _, section in re.findall(r"\]\((?!https?:)([^)#]*)(#?)([^)]*)\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        titles = re.findall(r"^#+ (.*)$", linked.read_text(), flags=re.M) if section else []
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not section or section in anchors, f"{target}#{section}"
