"""`python -m pipeline NAME FLAGS...`: runs one example; started by its run.sh."""

from __future__ import annotations

import logging
import signal
import sys

from pipeline.arguments import parse
from pipeline.config import CONFIGS, ROOT, PipelineError


def main(argv: list[str] | None = None) -> int:
    """Runs an example.

    Args:
        argv: the example's name and its flags; the process's own arguments by default.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad input.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in CONFIGS:
        print(f"usage: python -m pipeline {{{','.join(CONFIGS)}}} FLAGS...", file=sys.stderr)
        return 2
    config = CONFIGS[argv[0]]
    args = parse(config, argv[1:])
    sys.path.insert(0, str(ROOT))
    # Importing fairseq lets the debug messages of every library through.
    logging.disable(logging.INFO)
    # So that a command that is running ends with the pipeline.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        from pipeline.stages import run_stages

        run_stages(config, args)
        return 0
    except PipelineError as error:
        print(f"examples/{config.name}/run.sh: error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130


def _terminated(number, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
