"""`python -m pipeline NAME FLAGS...`: runs one example; started by its run.sh."""

from __future__ import annotations

import sys

from pipeline.arguments import parse
from pipeline.config import CONFIGS, guarded, named


def main(argv: list[str] | None = None) -> int:
    """Runs an example.

    Args:
        argv: the example's name and its flags; the process's own arguments by default.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad input.
    """
    argv = named(argv, CONFIGS, "pipeline")
    if argv is None:
        return 2
    config = CONFIGS[argv[0]]
    args = parse(config, argv[1:])

    def run() -> None:
        from pipeline.stages import run_stages

        run_stages(config, args)

    return guarded(f"examples/{config.name}/run.sh", run)


if __name__ == "__main__":
    sys.exit(main())
