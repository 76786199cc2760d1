"""Runs fairseq's and this project's commands; everything that they print goes into a log."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline import attached
from pipeline.config import ROOT, PipelineError


class Usage(NamedTuple):
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        peak_bytes: the most memory that was resident, of its largest process.
    """

    seconds: float
    peak_bytes: int


def printable(module: str, arguments: list[str]) -> str:
    """Returns the command line that a user would type from the repository's folder."""
    if module.endswith(".py"):
        command = f"python {shlex.quote(module)}"
    elif module == "fairseq_mos.cli":
        command = "fairseq-mos"
    else:
        command = module.replace("fairseq_cli.", "fairseq-")
    return f"{command} {shlex.join(arguments)}"


def environment(threads: int) -> dict[str, str]:
    """Returns the environment of the commands."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    values = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        values[name] = str(threads)
    # On a machine with several GPUs fairseq-train would multiply the batch by their number.
    values.setdefault("CUDA_VISIBLE_DEVICES", "0")
    return values


def run(
    module: str,
    arguments: list[str],
    log: Path,
    threads: int,
    on_line: Callable[[str], None] = lambda line: None,
    stdout: Path | None = None,
    held: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
) -> Usage:
    """Runs `python -m MODULE ARGUMENTS` (or `python FILE.py ARGUMENTS`) in the repository's folder.

    The command ends with this process, however that ends.

    Args:
        module: such as `fairseq_cli.train`, or the path of a script.
        arguments: its arguments.
        log: what the command prints is added here.
        threads: CPU threads.
        on_line: called with every printed line.
        stdout: also write what is printed to this file, anew; it appears when the command has succeeded.
        held: open files that stay open as long as the command runs, such as a lock.
        variables: of its environment, over those of :func:`environment`.

    Raises:
        PipelineError: the command failed; the message ends with its last error line.
    """
    partial = stdout.with_name(f".{stdout.name}.tmp") if stdout else Path(os.devnull)
    partial.parent.mkdir(parents=True, exist_ok=True)
    last, begin = "", time.monotonic()
    # Line by line: what a killed runner's log lacks, a training that goes on from its checkpoint does not log again.
    with open(log, "a", 1, encoding="utf-8") as log_stream, open(partial, "w", encoding="utf-8") as copy:
        log_stream.write(f"$ {printable(module, arguments)}\n")
        log_stream.flush()
        process = subprocess.Popen(
            [sys.executable, attached.__file__, *([] if module.endswith(".py") else ["-m"]), module, *arguments],
            cwd=ROOT,
            env={**environment(threads), **(variables or {})},
            pass_fds=held,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        try:
            for line in process.stdout:
                log_stream.write(line)
                copy.write(line)
                if line.strip():
                    last = line.strip() if "error: " in line or "error: " not in last else last
                on_line(line.rstrip("\n"))
            # Instead of wait(), which does not tell what this one process took.
            _, status, usage = os.wait4(process.pid, 0)
            code = process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if code != 0:
        raise PipelineError(
            f"{printable(module, []).strip()} failed (exit code {code}): {last[:300]}; log: {log}",
            2 if code == 2 else 1,
        )
    if stdout:
        os.replace(partial, stdout)
    # In KiB, but on macOS in bytes.
    return Usage(time.monotonic() - begin, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
