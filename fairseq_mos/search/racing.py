"""Stopping the evaluation of architectures that are clearly worse than one that is good enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_BATCHES = 8
"""Batches that must have been compared: with fewer, the spread of the differences is not known well."""

LEAST_SHARE = 0.25
"""Share of the split that must have been compared."""

DEVIATIONS = 3.0
"""Standard errors by which the difference must be above zero."""


class Sums(NamedTuple):
    """Sums over one batch: losses in nats, and what they are divided by."""

    loss: float
    nll_loss: float
    sample_size: int
    tokens: int


def means(sums: Sequence[Sums]) -> dict[str, float]:
    """Returns `loss` and `nll_loss` of all batches, base 2; it does not depend on their order."""
    loss = math.fsum(batch.loss for batch in sums) / sum(batch.sample_size for batch in sums)
    nll_loss = math.fsum(batch.nll_loss for batch in sums) / sum(batch.tokens for batch in sums)
    return {"loss": loss / math.log(2), "nll_loss": nll_loss / math.log(2)}


def clearly_worse(sums: Sequence[Sums], against: Sequence[Sums], batches: int) -> bool:
    """Whether the loss on the whole split will be above another architecture's, almost surely.

    Batches are compared pairwise, which cancels how hard they are. The difference of the losses per unit of
    sample size is a ratio of sums over a random sample of the batches without replacement; its standard error
    follows from the spread of the batches' residuals (Cochran, Sampling Techniques, section 6.4), with the
    correction for a finite number of batches.

    Args:
        sums: the batches so far.
        against: the other architecture's on (at least) the same batches, in the same order.
        batches: how many the split has.
    """
    count = len(sums)
    if count == batches or count < max(LEAST_BATCHES, LEAST_SHARE * batches):
        return False
    differences = [mine.loss - other.loss for mine, other in zip(sums, against)]
    sizes = [batch.sample_size for batch in sums]
    if not all(map(math.isfinite, differences)):
        return False
    ratio = math.fsum(differences) / sum(sizes)
    residuals = math.fsum((d - ratio * n) ** 2 for d, n in zip(differences, sizes))
    variance = (1 - count / batches) * count * residuals / (count - 1)
    return ratio > DEVIATIONS * math.sqrt(variance) / sum(sizes)


def estimate(sums: Sequence[Sums], against: Sequence[Sums]) -> dict[str, float]:
    """Returns `loss` and `nll_loss` of an architecture of which only some batches are known.

    Args:
        sums: those batches.
        against: another architecture's sums of all batches, in the same order.
    """
    whole, part, mine = means(against), means(against[: len(sums)]), means(sums)
    return {name: whole[name] + mine[name] - part[name] for name in whole}
