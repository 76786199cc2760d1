"""`python -m glue glue VERB FLAGS...`: prepares, fine-tunes or writes the table; started by run.sh."""

from __future__ import annotations

import sys

from pipeline.config import PipelineError, guarded

from glue.arguments import PROG, parse


def main(argv: list[str] | None = None) -> int:
    """Runs a verb.

    Args:
        argv: the word `glue`, the verb and its flags; the process's own arguments by default.

    Returns:
        The exit code: 0; 1 where a training failed; 2 for bad input.
    """
    args = parse((sys.argv[1:] if argv is None else argv)[1:])

    def run() -> None:
        from fairseq_mos.errors import UserError
        from glue import preparing, results, running

        verbs = {"prepare": preparing.prepare, "finetune": running.finetune, "table": results.table}
        try:
            verbs[args.verb](args)
        except UserError as error:
            raise PipelineError(str(error)) from error

    return guarded(PROG, run)


if __name__ == "__main__":
    sys.exit(main())
