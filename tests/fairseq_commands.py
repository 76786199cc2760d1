"""Runs fairseq commands one after another in one process, so that a test pays for importing it once.

As a script: `python fairseq_commands.py STEPS.json`, a list of argument lists whose first word is the
command (`fairseq-train`, ...). A step that raises ends the script as it would end the command itself.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.warm import Warm

ROOT = Path(__file__).resolve().parent.parent
_SIZES = {"layers": 1, "embed-dim": 16, "ffn-embed-dim": 16, "attention-heads": 2}
TINY = ["--task", "translation", "--arch", "transformer", "--dropout", "0"]
TINY += ["--optimizer", "adam", "--lr", "0.01", "--max-tokens", "64", "--cpu", "--num-workers", "0"]
TINY += ["--log-format", "simple"]
for _side in ("encoder", "decoder"):
    for _name, _size in _SIZES.items():
        TINY += [f"--{_side}-{_name}", str(_size)]
# A plugin of the repairs alone: the package's own entry would register its models too.
REPAIRS_ONLY = """
import sys, types
package = types.ModuleType("fairseq_mos")
package.__path__ = [{package!r}]
sys.modules.setdefault("fairseq_mos", package)
from fairseq_mos import compat
APPLIED = compat.apply()
"""


def write_corpus(folder: Path, seed: int = 0) -> Path:
    """Writes and binarises random sentences and their reversals (45 train, 11 valid, 5 test)."""
    draw = random.Random(seed)
    words = [f"w{i}" for i in range(30)]
    for split, count in (("train", 45), ("valid", 11), ("test", 5)):
        lines = [[draw.choice(words) for _ in range(draw.randint(2, 9))] for _ in range(count)]
        (folder / f"{split}.a").write_text("".join(" ".join(line) + "\n" for line in lines))
        (folder / f"{split}.b").write_text("".join(" ".join(line[::-1]) + "\n" for line in lines))
    step = ["fairseq-preprocess", "-s", "a", "-t", "b"]
    for split in ("train", "valid", "test"):
        step += [f"--{split}pref", str(folder / split)]
    run_steps([[*step, "--destdir", str(folder / "bin")]], folder)
    return folder / "bin"


def write_plugin(folder: Path) -> Path:
    """Writes a `--user-dir` that applies the repairs and nothing else."""
    plugin = folder / "repairs_only"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(REPAIRS_ONLY.format(package=str(ROOT / "fairseq_mos")))
    return plugin


def environment(**extra: str) -> dict[str, str]:
    """The environment for a fairseq process: one thread, this checkout importable, no launcher's traces."""
    clean = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    path = os.pathsep.join(filter(None, (str(ROOT), clean.get("PYTHONPATH"))))
    binaries = os.pathsep.join((str(Path(sys.executable).parent), clean.get("PATH", "")))
    return {**clean, "PYTHONPATH": path, "PATH": binaries, "OMP_NUM_THREADS": "1", **extra}


def run_steps(
    steps: list[list[str]], folder: Path, check: bool = True, **extra: str
) -> subprocess.CompletedProcess:
    """Runs the commands in one process in `folder`; with `check` a failure shows what was printed."""
    plan = folder / "steps.json"
    plan.write_text(json.dumps(steps))
    command = [sys.executable, str(Path(__file__).resolve()), str(plan)]
    return run(command, folder, check, **extra)


def run(
    command: list[str], folder: Path, check: bool = True, fresh: bool = False, **extra: str
) -> subprocess.CompletedProcess:
    """Runs one command in `folder` and captures its output as text.

    Args:
        command: program and arguments.
        folder: where it runs.
        check: a failure shows what was printed.
        fresh: in a new interpreter, for what is about its start.
        extra: further variables.
    """
    variables = environment(**extra)
    if not fresh and _server().serves(command, variables):
        done = _server().run(command, folder, variables, timeout=300)
    else:
        options = {"capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(command, cwd=folder, env=variables, **options)
    if check:
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


@cache
def _server() -> Warm:
    return Warm(environment())


def main(plan: str) -> None:
    steps = json.loads(Path(plan).read_text())
    for command, *arguments in steps:
        module = importlib.import_module("fairseq_cli." + command.removeprefix("fairseq-").replace("-", "_"))
        sys.argv = [command, *arguments]
        module.cli_main()
        # What fairseq keeps in attributes of functions belongs to one command.
        for name in ("fairseq.checkpoint_utils", "fairseq_cli.train"):
            for function in ("save_checkpoint", "should_stop_early"):
                vars(getattr(sys.modules.get(name), function, main)).clear()


if __name__ == "__main__":
    main(sys.argv[1])
