"""The `fairseq-mos` command: one verb a file, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import NoReturn

from fairseq_mos.errors import UserError, of_system, one_line
from fairseq_mos.files import check_output, check_unread
from fairseq_mos.logs import configure_logging

# What `fairseq-mos --help` shows without importing any of them.
VERBS = {
    "architecture": "write the largest, the smallest or a random architecture of a search space as YAML",
    "average": "average the weights of several fairseq checkpoints",
    "corpus": "make a corpus of what fairseq-generate printed: sequence-level distillation, back-translation",
    "evaluate": "translate test sets with one or several models and score them with sacreBLEU",
    "export": "write a subnet in a format to share or to deploy, and check that it translates alike",
    "extract": "write one architecture of a supernet as an ordinary, dense fairseq checkpoint",
    "fit-latency": "fit a latency predictor to measured architectures and report its error",
    "latency-dataset": "measure the latency of many architectures on this machine",
    "profile": "count and measure what a model costs: parameters, FLOPs, memory, latency",
    "report": "write a self-contained page about a run: training, search, found architecture, experts, scores",
    "search": "find the best architectures of a trained supernet under limits on cost",
    "user-dir": "print the folder to give to fairseq's --user-dir",
}


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except where there is none to show."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Reports a bad argument in one line, without the usage text.

    The examples have a twin (examples/pipeline/arguments.py), which has to work before this package is installed.
    """

    def error(self, message: str) -> NoReturn:
        # "argument --beam: is 0", of a Range, reads better as "--beam is 0".
        message = re.sub(r"^argument (\S+): is ", r"\1 is ", message)
        self.exit(2, f"{one_line(f'{self.prog}: error: {message}')} (see --help)\n")


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Builds the parser; only `verb`, if given, gets its arguments (and its imports)."""
    parser = _Parser(
        prog="fairseq-mos",
        description="Mixture-of-Supernets for fairseq: what fairseq's own commands lack.",
    )
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in VERBS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=_Formatter,
        )
        if name == verb:
            module = importlib.import_module(f"fairseq_mos.cli.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, outputs=getattr(module, "outputs", _only_output))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: arguments after the program's name; the process's own by default.

    Returns:
        The exit code: 0, or 2 for bad input, which is reported in one line.
    """
    argv = sys.argv[1:] if argv is None else argv
    # Names of files may hold what is no text: it is shown escaped, as stderr does.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    configure_logging()
    verb = next((word for word in argv if word in VERBS), None)
    try:
        args = build_parser(verb).parse_args(argv)
    except SystemExit as ended:  # argparse's way to end after --help and after a bad argument
        return ended.code or 0
    try:
        _refuse_empty(vars(args))
        if getattr(args, "output", None):
            check_output(args.output)
            check_unread(args.outputs(args), _texts(vars(args)))
        return args.run(args) or 0
    except UserError as error:
        return _complain(error)
    except BrokenPipeError:
        # The reader (`| head`) has gone; what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        explained = of_system(error)
        if explained is None:
            raise
        return _complain(explained)
    except KeyboardInterrupt:
        print("fairseq-mos: interrupted", file=sys.stderr)
        return 130


def _refuse_empty(values: dict[str, object]) -> None:
    """Refuses texts of no characters: what a shell makes of a variable that is not set, and no verb means."""
    for name, value in values.items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise UserError(f"--{name.replace('_', '-')} is empty: give it a value, or leave it out")


def _only_output(args: argparse.Namespace) -> list[str]:
    """What a verb writes that does not say it itself."""
    return [args.output]


def _texts(values: dict[str, object]) -> Iterator[str]:
    """Returns every text but --output's, and PATH of each NAME=PATH: whatever a verb may read."""
    for name, value in values.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and name != "output":
                yield from (text, text.partition("=")[2])


def _complain(error: UserError) -> int:
    print(one_line(f"fairseq-mos: error: {error}"), file=sys.stderr)
    return 2
