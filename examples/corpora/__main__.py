"""`python -m corpora NAME FLAGS...`: prepares one recipe's data; started by its prepare.sh."""

from __future__ import annotations

import sys

from pipeline.config import guarded, named

from corpora.arguments import parse
from corpora.recipes import RECIPES


def main(argv: list[str] | None = None) -> int:
    """Prepares the data of a recipe.

    Args:
        argv: the recipe's name and its flags; the process's own arguments by default.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad input.
    """
    argv = named(argv, RECIPES, "corpora")
    if argv is None:
        return 2
    args = parse(argv[0], argv[1:])

    def run() -> None:
        from corpora.steps import Preparation

        Preparation(argv[0], RECIPES[argv[0]], args).run()

    return guarded(f"examples/{argv[0]}/prepare.sh", run)


if __name__ == "__main__":
    sys.exit(main())
