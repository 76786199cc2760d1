"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: the message is one line that names the file, the field and what is allowed.

    Our own commands and, through :func:`fairseq_mos.compat.report_user_errors`, fairseq's commands
    print it without a traceback and exit with code 2.
    """
