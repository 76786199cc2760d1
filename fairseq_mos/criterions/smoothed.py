"""Label-smoothed cross entropy that keeps scores alone for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CPU, _GPU = 2**19, 2**27
"""Scores that are treated at once: in a core's cache, or as many as a GPU's memory bears."""


def label_smoothed_loss(scores: Tensor, target: Tensor, epsilon: float, padding_idx: int) -> tuple[Tensor, Tensor]:
    """Is fairseq's `label_smoothed_nll_loss` of the scores' log-softmax, summed over tokens.

    That makes a dozen tensors as large as the scores, forward and backward, of which several are alive at once. Here a
    block of rows goes through all steps, in fp32, and its gradient is made from the scores in the backward pass.

    Args:
        scores: (tokens, vocabulary).
        target: (tokens).
        epsilon: of label smoothing.
        padding_idx: targets that do not count.

    Returns:
        The loss, and its part without smoothing, which has no gradient.
    """
    return _Loss.apply(scores, target, epsilon, padding_idx)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, target, epsilon, padding_idx):
        share = epsilon / (scores.shape[1] - 1)
        nll, smooth = (scores.new_empty(len(scores), dtype=torch.float32) for _ in range(2))
        for block in _blocks(scores):
            lprobs = torch.log_softmax(scores[block], dim=-1, dtype=torch.float32)
            nll[block] = -lprobs.gather(1, target[block, None]).squeeze(1)
            smooth[block] = -lprobs.sum(-1)
        pads = target.eq(padding_idx)
        ctx.save_for_backward(scores, target, pads)
        ctx.weights = (1 - epsilon - share, share)
        nll, smooth = nll.masked_fill(pads, 0).sum(), smooth.masked_fill(pads, 0).sum()
        ctx.mark_non_differentiable(nll)
        return ctx.weights[0] * nll + share * smooth, nll

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        scores, target, pads = ctx.saved_tensors
        label, share = ctx.weights
        grad = torch.where(pads, 0, grad)[:, None]
        found = torch.empty_like(scores)
        own = scores.dtype == torch.float32
        for block in _blocks(scores):
            out = found[block] if own else None
            part = torch.softmax(scores[block], dim=-1, dtype=torch.float32, out=out)
            # The probabilities' own factor is one: label and smoothing add up to it.
            part.sub_(share)
            part.scatter_add_(1, target[block, None], part.new_full((1, 1), -label).expand(len(part), 1))
            part.mul_(grad[block])
            if not own:
                found[block] = part
        return found, None, None, None


def _blocks(scores: Tensor) -> Iterator[slice]:
    step = max(1, (_CPU if scores.device.type == "cpu" else _GPU) // scores.shape[1])
    return (slice(start, start + step) for start in range(0, len(scores), step))
