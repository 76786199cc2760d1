"""`python -m reproduce reproduce PLAN FLAGS...`: runs a plan; started by run.sh."""

from __future__ import annotations

import sys

from pipeline.config import PipelineError, guarded

from reproduce.arguments import PROG, parse


def main(argv: list[str] | None = None) -> int:
    """Runs a plan.

    Args:
        argv: the word `reproduce` and the flags; the process's own arguments by default.

    Returns:
        The exit code: 0; 1 where a unit failed; 2 for bad input.
    """
    args = parse((sys.argv[1:] if argv is None else argv)[1:])

    def run() -> None:
        from fairseq_mos.errors import UserError
        from fairseq_mos.logs import configure_logging

        configure_logging()
        from reproduce.running import run_plan

        try:
            run_plan(args)
        except UserError as error:
            raise PipelineError(str(error)) from error

    return guarded(PROG, run)


if __name__ == "__main__":
    sys.exit(main())
