"""Moving genes to where a limit holds."""

from __future__ import annotations

import random
from collections.abc import Callable

from fairseq_mos.arch.space import SearchSpace

Genes = tuple[int, ...]
"""One value for each gene of the space. Unlike an architecture it keeps what inactive layers chose, so that
a child that grows deeper inherits it (HAT)."""


def repaired(
    space: SearchSpace,
    genes: Genes,
    violation: Callable[[Genes], float],
    rng: random.Random,
    steps: int,
) -> tuple[Genes, float]:
    """Redraws one or two genes at a time, and keeps what does not raise the violation, until there is none.

    Args:
        space: the search space.
        genes: where to start.
        violation: 0 for genes within the limits, else how far they are outside.
        rng: the only source of randomness.
        steps: how often to redraw at most.

    Returns:
        The genes and their violation, which is more than 0 if the steps were too few.
    """
    left = violation(genes)
    for _ in range(steps):
        if left == 0:
            break
        changed = list(genes)
        # In a narrow window, one gene alone often overshoots what another one has to give back.
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(genes))
            changed[place] = rng.choice(space.genes[place].choices)
        after = violation(tuple(changed))
        if after <= left:
            genes, left = tuple(changed), after
    return genes, left
