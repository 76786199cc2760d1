"""`python -m bert bert FLAGS...`: runs the example; started by run.sh."""

from __future__ import annotations

import sys

from pipeline.config import PipelineError, guarded

from bert.arguments import PROG, parse


def main(argv: list[str] | None = None) -> int:
    """Runs the example.

    Args:
        argv: the word `bert` and the flags; the process's own arguments by default.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad input.
    """
    args = parse((sys.argv[1:] if argv is None else argv)[1:])

    def run() -> None:
        from bert.stages import run_stages
        from fairseq_mos.errors import UserError

        try:
            run_stages(args)
        except UserError as error:
            raise PipelineError(str(error)) from error

    return guarded(PROG, run)


if __name__ == "__main__":
    sys.exit(main())
