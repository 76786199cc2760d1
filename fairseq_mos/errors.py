"""The one exception that means "the user can mend this", and how it is printed."""

from __future__ import annotations

import errno

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


class UserError(ValueError):
    """Bad input: the message is one line that names the file, the field and what is allowed.

    Our own commands and, through :func:`fairseq_mos.compat.report_user_errors`, fairseq's commands
    print it without a traceback and exit with code 2.
    """


def one_line(text: object, limit: int = 2000) -> str:
    """Returns a message as the one line that it was meant to be.

    Line ends and other white space become one space; characters that a terminal cannot show (control characters,
    halves of surrogate pairs, which come from undecodable names) are escaped.

    Args:
        text: the message, which may quote names and values from anywhere.
        limit: characters; longer ones are cut.
    """
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def printable(text: str) -> str:
    """Returns text with an escape for each character that is not shown as itself; line ends are among them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def of_system(error: OSError | ValueError) -> UserError | None:
    """Returns what the system says of a file's name or content, or of a full disk; None for everything else."""
    if isinstance(error, OSError):
        if error.filename is not None:
            return UserError(f"cannot use {error.filename}: {error.strerror}")
        return UserError(f"cannot write: {error.strerror}") if error.errno in _FULL else None
    # Python's own words for a name that no system takes.
    return UserError(f"cannot use a name: {error}") if "null byte" in str(error) else None
