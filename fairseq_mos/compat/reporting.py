"""What the user reads: one line for a mistake of theirs, and none for what they cannot act on."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import TracebackType

from fairseq_mos.errors import UserError, of_system, one_line

EXIT_CODE = 2

# (message, module) of warnings that fairseq provokes and a user of its commands can do nothing about.
_NOISE = (
    (r"`torch\.cuda\.amp\.(autocast|GradScaler)\(args\.\.\.\)` is deprecated", r"fairseq\."),
    (r"Support for mismatched (src_)?key_padding_mask and (attn_mask|mask|src_mask)", r"torch\.nn"),
    (r"'pin_memory' argument is set as true but no accelerator is found", r"torch\.utils\.data\."),
    (r"hydra\.experimental\.(initialize|compose)\(\) is no longer experimental", r"hydra\."),
    (r"\s*The version_base parameter is not specified", r"hydra\."),
    (r"In 'config': Usage of deprecated keyword in package header", r"hydra\."),
    (r"\s*'config' is validated against ConfigStore schema with the same name", r""),
    (r"\s*The strict flag in the compose API is deprecated", r"hydra\."),
)


def silence_noise() -> None:
    """Silences the harmless warnings of fairseq's paths, each by its exact message and module.

    fairseq 0.12 calls hydra 1.0's experimental interface (`dataclass/utils.py`), `torch.cuda.amp`
    (`tasks/fairseq_task.py`), boolean and float masks together (`modules/multihead_attention.py`)
    and pins memory on machines without an accelerator (`data/iterators.py`). The advice to install
    tensorboardX (`tasks/text_to_speech.py`) is logged while fairseq imports its tasks: it is silenced
    where this runs first, as in our own commands.
    """
    for message, module in _NOISE:
        warnings.filterwarnings("ignore", message=message, module=module)
    logger = logging.getLogger("fairseq.tasks.text_to_speech")
    if _not_tensorboard_advice not in logger.filters:
        logger.addFilter(_not_tensorboard_advice)


def _not_tensorboard_advice(record: logging.LogRecord) -> bool:
    return "install tensorboardX" not in record.getMessage()


def user_error_line(error: BaseException | None) -> str | None:
    """Returns the one line for the user when `error` is one that the user can mend, else None.

    That is a `UserError`, what the system says of a file, or a bare `Exception` of fairseq's own, which it raises for
    nothing but mistakes of the user (an empty data set, sentences that are too long). An error that crossed a
    process (a data worker, or a rank that fairseq spawned) arrives with the other process's traceback as its
    text; the line is then the last one of that text.
    """
    text = str(error).strip()
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    last = text.splitlines()[-1] if text else ""
    if isinstance(error, UserError):
        return last.removeprefix(name) if last.startswith(name) else text
    if type(error).__name__ == "ProcessRaisedException" and last.startswith(name):
        return last.removeprefix(name)
    if isinstance(error, OSError):
        return str(of_system(error) or "") or None
    return last if type(error) is Exception and _raised_by_fairseq(error) else None


def _raised_by_fairseq(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    parts = Path(trace.tb_frame.f_code.co_filename).parts if trace is not None else ()
    return "fairseq" in parts or "fairseq_cli" in parts


def _print_line(line: str) -> None:
    sys.stdout.flush()
    # Not `sys.stderr`: torch.distributed wraps the hook of a rank and captures what is written there,
    # only to lose it when the hook ends the process.
    print(one_line(f"fairseq-mos: error: {line}"), file=sys.__stderr__ or sys.stderr, flush=True)


def report_user_errors() -> bool:
    """Makes an uncaught `UserError` print one line on stderr and end the process with exit code 2.

    Every other exception goes to the hook that was there before. Python turns a `SystemExit` that
    leaves `sys.excepthook` into the exit code, after the usual shutdown.

    Returns:
        Whether the hook was installed by this call.
    """
    previous = sys.excepthook
    if getattr(previous, "reports_user_errors", False):
        return False

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line = user_error_line(error)
        if line is None:
            previous(kind, error, trace)
            return
        _print_line(line)
        raise SystemExit(EXIT_CODE)

    hook.reports_user_errors = True
    sys.excepthook = hook
    return True


def repair_user_errors() -> bool:
    """One line instead of a traceback for mistakes of the user (see :func:`report_user_errors`)."""
    return report_user_errors()


def repair_hydra_errors() -> bool:
    """The same for fairseq-hydra-train, where hydra catches what its job raises.

    hydra's `JobReturn.return_value` (`hydra/core/utils.py`) re-raises the job's error and
    `run_and_report` then ends with exit code 1 and a trimmed traceback, so `sys.excepthook` never
    sees it. `SystemExit` passes through both. hydra 1.0 has no such property and is left alone.
    """
    from hydra.core.utils import JobReturn

    original = vars(JobReturn).get("return_value")
    if not isinstance(original, property) or hasattr(original.fget, "reports_user_errors"):
        return False

    def return_value(self):  # type: ignore[no-untyped-def]
        line = user_error_line(self._return_value) if isinstance(self._return_value, Exception) else None
        if line is not None:
            _print_line(line)
            raise SystemExit(EXIT_CODE)
        return original.fget(self)

    return_value.reports_user_errors = True
    JobReturn.return_value = property(return_value, original.fset, original.fdel, original.__doc__)
    return True
