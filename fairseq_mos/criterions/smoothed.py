"""Label-smoothed cross entropy that keeps scores alone for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional, Union

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CPU, _GPU = 2**19, 2**27
"""Scores that are treated at once: in a core's cache, or as many as a GPU's memory bears."""


@dataclass(frozen=True)
class Features:
    """What log-probabilities are made of: far fewer numbers than these.

    Attributes:
        states: what a decoder puts out (tokens, width).
        weight: of the output projection (vocabulary, width).
        bias: of it (vocabulary), or None.
    """

    states: Tensor
    weight: Tensor
    bias: Optional[Tensor]

    def __getitem__(self, block: slice) -> Tensor:
        """Returns the log-probabilities of a block of tokens."""
        return torch.log_softmax(F.linear(self.states[block], self.weight, self.bias), dim=-1, dtype=torch.float32)


Predictions = Union[Tensor, Features]
"""Log-probabilities (tokens, vocabulary), or what a block of them is made of when it is needed."""


def label_smoothed_loss(
    scores: Tensor,
    target: Tensor,
    epsilon: float,
    padding_idx: int,
    teacher: Optional[Predictions] = None,
    weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Is fairseq's `label_smoothed_nll_loss` of the scores' log-softmax, summed over tokens, with soft targets besides.

    That makes a dozen tensors as large as the scores, forward and backward, of which several are alive at once. Here a
    block of rows goes through all steps, in fp32, and its gradient is made from the scores in the backward pass.

    Args:
        scores: (tokens, vocabulary).
        target: (tokens).
        epsilon: of label smoothing.
        padding_idx: targets that do not count.
        teacher: predictions that are soft targets.
        weight: W of `(1 - W) labels + W KL(teacher || student)`; without a teacher it does not count.

    Returns:
        The loss, and its part without smoothing and teacher, which has no gradient.
    """
    return _Loss.apply(scores, target, epsilon, padding_idx, teacher, 0.0 if teacher is None else weight)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, target, epsilon, padding_idx, teacher, weight):
        share = epsilon / (scores.shape[1] - 1)
        nll, smooth, soft = (scores.new_zeros(len(scores), dtype=torch.float32) for _ in range(3))
        for block in _blocks(scores):
            lprobs = torch.log_softmax(scores[block], dim=-1, dtype=torch.float32)
            nll[block] = -lprobs.gather(1, target[block, None]).squeeze(1)
            smooth[block] = -lprobs.sum(-1)
            if teacher is not None:
                soft[block] = F.kl_div(lprobs, teacher[block], reduction="none", log_target=True).sum(-1)
        pads = target.eq(padding_idx)
        ctx.save_for_backward(scores, target, pads)
        ctx.weights, ctx.teacher = (1 - epsilon - share, share, weight), teacher
        nll, smooth, soft = (part.masked_fill(pads, 0).sum() for part in (nll, smooth, soft))
        ctx.mark_non_differentiable(nll)
        return (1 - weight) * (ctx.weights[0] * nll + share * smooth) + weight * soft, nll

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        scores, target, pads = ctx.saved_tensors
        label, share, weight = ctx.weights
        grad = torch.where(pads, 0, grad)[:, None]
        found = torch.empty_like(scores)
        own = scores.dtype == torch.float32
        for block in _blocks(scores):
            out = found[block] if own else None
            part = torch.softmax(scores[block], dim=-1, dtype=torch.float32, out=out)
            # The probabilities' own factor is one: label, smoothing and teacher add up to it.
            part.sub_((1 - weight) * share)
            if weight:
                part.sub_(ctx.teacher[block].exp(), alpha=weight)
            taken = part.new_full((1, 1), -(1 - weight) * label)
            part.scatter_add_(1, target[block, None], taken.expand(len(part), 1))
            part.mul_(grad[block])
            if not own:
                found[block] = part
        return found, None, None, None, None, None


def _blocks(scores: Tensor) -> Iterator[slice]:
    step = max(1, (_CPU if scores.device.type == "cpu" else _GPU) // scores.shape[1])
    return (slice(start, start + step) for start in range(0, len(scores), step))
